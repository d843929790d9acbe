"""From the options to the table and the files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from .. import visualization
from ..attribution import EffectiveReceptiveField
from ..erfmap import ERFMap
from ..images import Crops, NoImagesError
from ..measurement.loop import relative_error, run_through
from ..result.report import channel_words, error_words, notes, table
from ..result.statistics import STATISTICS, Row, Statistic
from ..text import number, times
from ..version import __version__
from . import files, resume
from .code import show_code
from .files import Picture
from .layers import is_even
from .options import UsageError, plain
from .plan import Case, Settings, each_model, list_layers, make_cases, make_settings
from .samples import Samples, independent_words, make_samples, numbers_of
from .terminal import say, tell, wrapped

LISTED = 8  # maps up to which each is named
COMPARED = ("diameter_50", "diameter_90")  # sizes of which the table gives differences
TABLE_WORDS = (
    "TRF: theoretical receptive field, outside: its share outside the input; ERF: side of the smallest box that holds "
    "this share of the map; sigma, R²: Gaussian fit. Lengths in pixels."
)


@dataclass(frozen=True)
class Measured:
    """A case, what it was measured on, and its maps."""

    case: Case
    samples: Samples
    fields: list[ERFMap]


def run(options: argparse.Namespace) -> None:
    """Measures what the options ask for, prints the table and writes the files."""
    try:
        settings = make_settings(options)
        cases = make_cases(options, settings)
        if options.list_layers:
            tell("\n\n".join(map(list_layers, each_model(cases))))
            return
        samples = make_samples(options, [case.shape for case in cases], [case.found.look for case in cases])
        if options.show_code:
            tell(show_code(options, settings, cases, samples))
            return
    except NoImagesError:
        raise
    except (ValueError, TypeError, IndexError) as error:
        raise UsageError(str(error)) from error
    folder = _make_folder(options, cases)
    tell(_header(cases, samples))
    found = [_measure(options, settings, case, its, len(cases) > 1) for case, its in zip(cases, samples, strict=True)]
    _tell_and_write(options, settings, found, folder)


def _make_folder(options: argparse.Namespace, cases: Sequence[Case]) -> Path:
    parts = [
        *dict.fromkeys(
            "-".join([case.wanted.short if len(cases) > 1 else case.wanted.name, *case.wanted.layers]) for case in cases
        ),
        *dict.fromkeys(case.label for case in cases if len(cases) > 1 or case.weights is not None),
    ]
    folder: Path = options.output or Path(files.folder_name(parts))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output: {folder} cannot be made a folder ({error.strerror}); name another one.") from error
    return folder


def _header(cases: Sequence[Case], samples: Sequence[Samples]) -> str:
    networks = [f"{case.wanted.name}, weights: {case.found.weights}" for case in cases]
    return "\n".join([*networks, *dict.fromkeys(its.words for its in samples), ""])


def _measure(options: argparse.Namespace, settings: Settings, case: Case, samples: Samples, several: bool) -> Measured:
    if several:
        say(f"measuring {case.wanted.name}, {case.label}")
    torch.manual_seed(options.seed)
    erf = EffectiveReceptiveField(case.found.model, case.layers, layout=case.reading.layout, call=options.call)
    accumulator = erf.accumulator(**settings.keywords, get_groups=numbers_of)
    saved = _saved_run(options, settings, case, samples, several)
    if saved is not None:
        try:
            if saved.load(accumulator):
                done = f"{accumulator.num_samples} of {len(samples)} samples"
                tell(f"Going on after {done}, from {saved.file}\n")
        except ValueError as error:
            raise UsageError(str(error)) from error
    batches = resume.Batches(samples, options.batch_size, accumulator, saved)
    fields = run_through(
        accumulator,
        batches,
        target_error=options.target_error,
        min_samples=options.min_samples or 0,
        skip_dead=True,
        show_progress=True,
    )
    return Measured(case, samples, [_with_origin(field, case, samples) for field in fields])


def _with_origin(field: ERFMap, case: Case, samples: Samples) -> ERFMap:
    """The map whose recipe tells of what network, weights and images it is, and over what its errors run."""
    words: dict[str, Any] = {"model": case.wanted.name, "weights": case.found.weights, "images": samples.words}
    independent = independent_words(samples, field.num_samples)
    if independent is not None:
        words |= {"num_images": None, "error_over": independent}
    return replace(field, recipe=field.recipe | words)


def _saved_run(
    options: argparse.Namespace, settings: Settings, case: Case, samples: Samples, several: bool
) -> resume.SavedRun | None:
    if options.resume is None:
        return None
    file: Path = options.resume
    if several:
        file = file.with_name(f"{file.stem}-{files.safe(f'{case.wanted.short}-{case.label}')}{file.suffix}")
    identity = {
        "model": case.wanted.name,
        "layers": case.layers,
        "input": times(case.shape),
        "seed": options.seed,
        "position": str(settings.keywords["positions"][0]),
        "channel": options.channel,
        "samples": samples.words,
        "files": resume.stamp(samples),
        "weights": resume.digest(case.found.model),
    }
    return resume.SavedRun(file, resume.Identity(identity), options.save_every)


def _tell_and_write(
    options: argparse.Namespace, settings: Settings, measured: Sequence[Measured], folder: Path
) -> None:
    fields = [field for found in measured for field in found.fields]
    summaries = [field.summary() for field in tqdm(fields, desc="Fits", unit="layer")]
    rows = [_origin(field) | summary for field, summary in zip(fields, summaries, strict=True)]
    run: dict[str, Any] = {"captum_erf": __version__, "options": plain(options)}
    reports = [settings.protocol.report(field) for field in fields] if settings.protocol else []
    if reports:
        run["protocol"] = [report.to_dict() for report in reports]
    texts = [
        table(fields, summaries, _labels(measured), _differences(measured)),
        _notes(options, settings, measured, summaries),
        *map(str, reports),
    ]
    try:
        tell("\n\n".join(texts))
    finally:
        maps = dict(zip(_file_names(measured), fields, strict=True))
        written = files.write(folder, maps, rows, run, _picture(options, measured))
    tell(f"\nWrote {_listed(written)} to {folder}")


def _listed(written: Sequence[Path]) -> str:
    maps = [file.name for file in written if file.suffix == ".npz"]
    others = [file.name for file in written if file.suffix != ".npz"]
    return ", ".join([*others, *(maps if len(maps) <= LISTED else [f"{len(maps)} maps (.npz)"])])


def _origin(field: ERFMap) -> dict[str, Any]:
    recipe = field.recipe
    return {key: recipe[key] for key in ("model", "weights", "images")} | {"channel": channel_words(recipe)}


def _differences(measured: Sequence[Measured]) -> list[list[str]]:
    """The last columns of the table: paired differences to the first row, or to the layer with the first weights."""
    if len(measured) == 1:
        return []
    compared = [statistic for statistic in STATISTICS if statistic.key in COMPARED]
    lines = [[f"Δ {statistic.key.removeprefix('diameter_')} %" for statistic in compared]]
    for found in measured:
        first = next(other for other in measured if other.case.wanted == found.case.wanted)
        for field in found.fields:
            same = [other for other in first.fields if other.layer == field.layer and first is not found]
            lines.append(_compared(field, same[0] if same else measured[0].fields[0], compared))
    return lines


def _compared(field: ERFMap, other: ERFMap, compared: Sequence[Statistic]) -> list[str]:
    if field is other:
        return ["-"] * len(compared)
    try:
        return [number(*field.difference(other, statistic.formula)) for statistic in compared]
    except ValueError:
        return ["-"] * len(compared)


def _labels(measured: Sequence[Measured]) -> list[list[str]]:
    """The first columns of the table, of several networks."""
    columns = {
        "model": [found.case.wanted.short for found in measured],
        "weights": [found.case.label for found in measured],
    }
    told = {head: column for head, column in columns.items() if len(set(column)) > 1}
    lines = [[column[place] for column in told.values()] for place in range(len(measured))]
    rows = [line for line, found in zip(lines, measured, strict=True) for _ in found.fields]
    return [list(told), *rows] if told else []


def _file_names(measured: Sequence[Measured]) -> list[str]:
    """``layer4``, or of several networks ``resnet18-random``, with the layer where there are several."""
    if len(measured) == 1:
        return files.file_names(field.layer for field in measured[0].fields)
    labels = []
    for found in measured:
        stem = f"{found.case.wanted.short}-{found.case.label}"
        alone = len(found.fields) == 1 and not found.case.wanted.layers
        labels += [stem if alone else f"{stem}-{field.layer}" for field in found.fields]
    return files.file_names(labels)


def _picture(options: argparse.Namespace, measured: Sequence[Measured]) -> Picture:
    if len(measured) == 1:
        return Picture("erf", lambda: visualization.plot_layers(measured[0].fields), options.format)
    return Picture("models", lambda: _models(measured), options.format)


def _models(measured: Sequence[Measured]) -> Figure:
    """Networks, and their layers where there are several, across; their weights down."""
    several = len({found.case.wanted for found in measured}) > 1
    rows: dict[int, dict[str, ERFMap]] = {}
    weights: dict[int, dict[str, None]] = {}
    for found in measured:
        row = sum(other.case.wanted == found.case.wanted for other in measured[: measured.index(found)])
        weights.setdefault(row, {})[found.case.label] = None
        for field in found.fields:
            name = found.case.wanted.short if several else ""
            layer = field.layer if len(found.fields) > 1 or found.case.wanted.layers or not several else ""
            rows.setdefault(row, {})[" ".join(filter(None, [name, layer]))] = field
    return visualization.plot_models({" / ".join(weights[row]): fields for row, fields in rows.items()})


def _notes(
    options: argparse.Namespace, settings: Settings, measured: Sequence[Measured], summaries: Sequence[Row]
) -> str:
    """What the table does not say by itself."""
    fields = [field for found in measured for field in found.fields]
    unit = fields[0].position if len(fields) == 1 else settings.keywords["positions"][0]
    paragraphs = [TABLE_WORDS, _error_words(measured), f"Unit: {unit}, {channel_words(fields[0].recipe)}."]
    if len(measured) > 1:
        paragraphs.append("Δ: difference from the first row, or the same layer's first row, image by image.")
    several = len(measured) > 1
    left = iter(summaries)
    for found in measured:
        whose = f"{found.case.wanted.short}: " if several else ""
        layers = {field.layer: notes(field, next(left)) for field in found.fields}
        lines = [*_notes_of(options, settings, found), *(f"{name}: {note}" for name in layers for note in layers[name])]
        paragraphs += [f"{whose}{line}" for line in lines]
    return "\n".join(map(wrapped, dict.fromkeys(paragraphs)))


def _error_words(measured: Sequence[Measured]) -> str:
    first = measured[0]
    words = [error_words(first.fields[0])]
    if isinstance(first.samples, Crops) and first.samples.num_images == 1:
        words.append("They say how the numbers vary between crops of this photograph, not between photographs.")
    if any(found.case.weights is None for found in measured):
        words.append("What another draw of random weights would change is not in them.")
    return " ".join(words)


def _notes_of(options: argparse.Namespace, settings: Settings, found: Measured) -> list[str]:
    case, fields = found.case, found.fields
    lines = [f"Layout: {case.reading.words}; --layout sets it."] if case.reading.words else []
    lines += [
        f"{field.layer}: {field.num_dead} of {field.num_samples} samples have no gradient at all."
        for field in fields
        if field.num_dead
    ]
    even = [name for name in case.layers if is_even(case.found.model, case.outputs, case.reading.layout, name)]
    if even and settings.keywords["channel"] is None:
        lines.append(
            f"{', '.join(even)}: a layer norm makes the sum over channels nearly constant, so that this map is "
            "mostly noise; take the layer before it, or --channel random."
        )
    if options.target_error is not None:
        error = max(relative_error(field) for field in fields)
        verdict = "reached" if error <= options.target_error else "not reached"
        samples = f"{fields[0].num_samples} of {len(found.samples)} samples"
        lines.append(f"Target error {options.target_error:g} {verdict}: {error:.2g} after {samples}.")
    return lines
