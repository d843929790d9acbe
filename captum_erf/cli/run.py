"""From the options to the tables and the files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..erfmap import ERFMap
from ..images import NoImagesError
from ..result.report import channel_words
from ..spacing import Spacing
from ..version import __version__
from . import figure, files, naming
from .code import show_code
from .listing import list_layers
from .measure import Measured, measure
from .options import UsageError, plain
from .page import write_page
from .plan import Case, Settings, by_model, make_cases, make_settings
from .report import tables
from .samples import Samples, make_samples
from .terminal import tell

LISTED = 8  # maps up to which each is named


def run(options: argparse.Namespace) -> None:
    """Measures what the options ask for, prints the table and writes the files."""
    try:
        settings = make_settings(options)
        cases = make_cases(settings)
        if options.list_layers:
            tell("\n\n".join(list_layers(first) for first, *_ in by_model(cases)))
            return
        samples = make_samples(settings, cases)
        if options.show_code:
            tell(show_code(settings, cases, samples))
            return
        for case in cases:
            (options.spacing or Spacing()).along(len(case.shape) - 1)
        if options.page and any(len(case.shape) != 3 for case in cases):
            raise ValueError("--page shows maps over images; drop it for signals and volumes.")
    except NoImagesError:
        raise
    except (ValueError, TypeError, IndexError) as error:
        raise UsageError(str(error)) from error
    folder = _make_folder(options.output or Path(naming.folder_name(cases)))
    tell(_header(cases, samples))
    measured = [measure(settings, case, its) for case, its in zip(cases, samples, strict=True)]
    _tell_and_write(settings, measured, folder)


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output: {folder} cannot be made a folder ({error.strerror}); name another one.") from error
    return folder


def _header(cases: Sequence[Case], samples: Sequence[Samples]) -> str:
    networks = [f"{case.wanted.name}, weights: {case.found.weights}" for case in cases]
    return "\n".join([*networks, *dict.fromkeys(its.words for its in samples), ""])


def _tell_and_write(settings: Settings, measured: Sequence[Measured], folder: Path) -> None:
    fields = [field for found in measured for field in found.fields]
    summaries = [field.summary() for field in tqdm(fields, desc="Fits", unit="layer")]
    reports = [settings.protocol.report(field) for field in fields] if settings.protocol else []
    run: dict[str, Any] = {"captum_erf": __version__, "options": plain(settings.options)}
    if reports:
        run["protocol"] = [report.to_dict() for report in reports]
    texts = [*tables(settings, measured, summaries), *map(str, reports)]
    try:
        tell("\n\n".join(texts))
    finally:
        rows = [_origin(field) | summary for field, summary in zip(fields, summaries, strict=True)]
        names = naming.map_names({found.case: [field.layer for field in found.fields] for found in measured})
        maps = dict(zip(names, fields, strict=True))
        written = files.write(folder, maps, rows, run, _drawings(settings, measured))
    tell(f"\nWrote {_listed(written)} to {folder}")


def _origin(field: ERFMap) -> dict[str, Any]:
    recipe = field.recipe
    return {key: recipe[key] for key in ("model", "weights", "images")} | {"channel": channel_words(recipe)}


def _drawings(settings: Settings, measured: Sequence[Measured]) -> dict[str, Callable[[Path], object]]:
    """The picture in every format, and the page, by the names of their files."""
    draw = cache(partial(figure.plot, measured))
    name = naming.picture_name(len(measured))
    drawings: dict[str, Callable[[Path], object]] = {
        f"{name}.{ending}": lambda file: draw().savefig(file) for ending in settings.options.format
    }
    if settings.options.page:
        drawings["page.html"] = partial(write_page, settings=settings, measured=measured)
    return drawings


def _listed(written: Sequence[Path]) -> str:
    maps = [file.name for file in written if file.suffix == ".npz"]
    others = [file.name for file in written if file.suffix != ".npz"]
    return ", ".join([*others, *(maps if len(maps) <= LISTED else [f"{len(maps)} maps (.npz)"])])
