"""The command ``captum-erf``: effective receptive fields of a model by its name, as a table, files and a picture."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor
from tqdm import tqdm

from .. import images
from ..attribution import EffectiveReceptiveField
from ..erfmap import ERFMap
from ..images import Crops
from ..measurement.loop import relative_error, run_through
from ..network.layers import find_layers
from ..network.layouts import Layout, channels_last
from ..network.units import resolve_position
from ..protocols import PROTOCOLS, Protocol
from ..result.report import channel_words, table
from ..version import __version__
from . import files as outputs
from . import models, resume
from .options import PRECISIONS, parser


class UsageError(Exception):
    """Something that the user can put right on the command line."""


@dataclass(frozen=True)
class Plan:
    """What is measured: a model, its layers and how they are read, and the settings of the measurement."""

    named: models.NamedModel
    size: int
    shapes: models.Shapes
    layers: list[str]
    layout: Layout
    settings: dict[str, Any]
    protocol: Protocol[Any] | None


def main(arguments: Sequence[str] | None = None) -> int:
    r"""
    Runs the command.

    Args:
        arguments (Sequence[str], optional): Its arguments; None takes the process's own.

    Returns:
        *int*: 0, 1 after a failure, 2 for arguments that make no sense, 130 when interrupted.
    """
    try:
        options = parser().parse_args(arguments)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    stderr: Any = _Stderr()
    with warnings.catch_warnings(), redirect_stderr(stderr):
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        try:
            _run(options)
        except UsageError as error:
            return _say(f"error: {error}", 2)
        except (OSError, ImportError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
            return _say(f"error: {str(error) or type(error).__name__}", 1)
        except KeyboardInterrupt:
            return _say("interrupted" + (f"; --resume {options.resume} goes on" if options.resume else ""), 130)
    return 0


class _Stderr:
    """Standard error, or nothing where it is closed or full."""

    def __init__(self) -> None:
        self._stream = sys.stderr or io.StringIO()

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except OSError:
            _discard(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _discard(stream: TextIO) -> None:
    """Lets all that is written to a stream from now on go nowhere."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def _tell(text: str) -> None:
    """Prints; a reader that has left (``| head``) or knows no ``±`` costs nobody the results."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except BrokenPipeError:
        _discard(sys.stdout)


def _say(message: str, status: int) -> int:
    print(f"captum-erf: {message}", file=sys.stderr)
    return status


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"captum-erf: warning: {message}", file=sys.stderr)


def _run(options: argparse.Namespace) -> None:
    try:
        plan = _plan(options)
    except (ValueError, TypeError, IndexError) as error:
        raise UsageError(str(error)) from error
    if options.list_layers:
        _tell(_list_of_layers(plan, options.model))
        return
    crops = _crops(options, plan)
    folder = options.output or Path(f"erf-{outputs.safe(options.model)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output: {folder} cannot be made a folder ({error.strerror}); name another one.") from error
    words = {"model": options.model, "weights": plan.named.weights, "images": crops.words}
    _tell(f"{options.model}, weights: {plan.named.weights}\n{crops.words}\n")
    torch.manual_seed(options.seed)
    fields = [replace(field, recipe=field.recipe | words) for field in _measure(options, plan, crops)]
    rows = [field.summary() for field in tqdm(fields, desc="Fits", unit="layer")]
    run: dict[str, Any] = {"captum_erf": __version__, **words, "options": _plain(options)}
    reports = [plan.protocol.report(field) for field in fields] if plan.protocol else []
    if reports:
        run["protocol"] = [report.to_dict() for report in reports]
    texts = [table(fields, rows), _notes(options, plan, fields, len(crops)), *map(str, reports)]
    try:
        _tell("\n\n".join(texts))
    finally:
        files = outputs.write(folder, fields, rows, run)
    _tell(f"\nWrote {', '.join(file.name for file in files)} to {folder}")


def _plan(options: argparse.Namespace) -> Plan:
    device = _device(options.device)
    if options.data is not None and not options.data.is_dir():
        raise ValueError(f"--data: there is no folder {options.data}.")
    if options.resume is not None and not options.resume.absolute().parent.is_dir():
        raise ValueError(f"--resume: there is no folder {options.resume.parent} to write the file to.")
    settings, protocol = _settings(options)
    named = models.load_model(options.model, options.weights, seed=options.seed)
    named.model.to(device)
    size = options.size or named.size
    shapes = models.shapes_on(named.model, size)
    try:
        layers, layout = _layers(options, named.model, shapes, size)
    except ValueError:
        if not options.list_layers:
            raise
        layers, layout = [], "channels_first"
    if not options.list_layers:
        for layer in layers:
            _check_unit(layer, shapes[layer], layout, size, settings)
    return Plan(named, size, shapes, layers, layout, settings, protocol)


def _device(name: str | None) -> torch.device:
    wanted = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        probe = torch.zeros((), device=wanted)
        probe.item()
        return probe.device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"--device {wanted} cannot be used: {str(error).splitlines()[0]}") from error


def _settings(options: argparse.Namespace) -> tuple[dict[str, Any], Protocol[Any] | None]:
    """Keywords of ``accumulator``; a protocol fixes some of them."""
    settings = {
        "positions": (options.position or "center",),
        "channel": options.channel,
        "window": "auto" if options.window else False,
        "autocast": options.autocast and PRECISIONS[options.autocast],
    }
    if options.protocol is None:
        return settings, None
    protocol = PROTOCOLS[options.protocol]
    fixed = {"channel": "channel" in protocol.settings, "position": protocol.central}
    for option, is_fixed in fixed.items():
        if is_fixed and getattr(options, option) is not None:
            raise ValueError(f"--protocol {protocol.name} fixes the {option}; drop --{option}.")
    return settings | dict(protocol.settings), protocol


def _layers(
    options: argparse.Namespace, model: torch.nn.Module, shapes: models.Shapes, size: int
) -> tuple[list[str], Layout]:
    named = None if options.layers is None else [name for entry in options.layers for name in entry.split(",") if name]
    if named is not None:
        find_layers(model, named)
        idle = [name for name in named if name not in shapes]
        if idle or not named:
            raise ValueError(f"--layers: {', '.join(idle) or 'nothing'} does not run; --list-layers shows what does.")
        shapes = {name: shapes[name] for name in named}
    layout = options.layout or models.detect_layout(shapes, size)
    return named or models.default_layers(model, shapes, layout, size), layout


def _check_unit(layer: str, shape: tuple[int, ...] | None, layout: Layout, size: int, settings: dict[str, Any]) -> None:
    try:
        _, channels, *grid = models.read_shape(layer, shape, layout, size)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{error} Here: --layout channels_last or --layout tokens:PREFIX.") from error
    resolve_position(settings["positions"][0], grid)
    channel = settings["channel"]
    chosen = [channel] if isinstance(channel, int) else channel if isinstance(channel, list) else []
    outside = [one for one in chosen if not -channels <= one < channels]
    if outside:
        raise ValueError(f"--channel {outside[0]} is outside the {channels} channels of {layer}: 0 to {channels - 1}.")


def _list_of_layers(plan: Plan, model: str) -> str:
    rows = []
    for name, module in plan.named.model.named_modules():
        shape = plan.shapes.get(name)
        words = "not run" if name not in plan.shapes else "no tensor" if shape is None else f"(N, {str(shape[1:])[1:]}"
        rows.append((name or "(the network)", type(module).__name__, words, "*" if name in plan.layers else ""))
    wide, wider = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"{name:<{wide}}  {kind:<{wider}}  {words}  {star}".rstrip() for name, kind, words, star in rows]
    chosen = "* is measured without --layers" if plan.layers else "None is measured without --layers and --layout"
    return "\n".join([*lines, "", f"{model} on images of {plan.size} x {plan.size}. {chosen}."])


def _crops(options: argparse.Namespace, plan: Plan) -> Crops:
    named = plan.named
    looks: dict[str, Any] = {"size": plan.size, "seed": options.seed, "mean": named.mean, "std": named.std}
    if options.data is None:
        return images.photograph(options.num_samples or images.NUM_SAMPLES, **looks)
    return images.folder(options.data, options.num_samples, **looks)


def _measure(options: argparse.Namespace, plan: Plan, crops: Crops) -> list[ERFMap]:
    erf = EffectiveReceptiveField(plan.named.model, plan.layers, layout=plan.layout)
    accumulator = erf.accumulator(**plan.settings)
    batches: Iterable[Tensor] = resume.loader(crops, options.batch_size)
    if options.resume is not None:
        run = _identity(options, plan, crops)
        if options.resume.exists():
            try:
                resume.load_run(options.resume, run, accumulator)
            except ValueError as error:
                raise UsageError(str(error)) from error
            _tell(f"Going on after {accumulator.num_samples} of {len(crops)} samples, from {options.resume}\n")
        batches = resume.SavedRun(crops, options.batch_size, accumulator, options.resume, run, options.save_every)
    return run_through(accumulator, batches, target_error=options.target_error, skip_dead=True, show_progress=True)


def _identity(options: argparse.Namespace, plan: Plan, crops: Crops) -> dict[str, Any]:
    """What tells this run from another, beside what the accumulator knows."""
    stamps = [(stat.st_size, stat.st_mtime_ns) for stat in map(os.stat, crops.files)]
    return {
        "the model": options.model,
        "the layers": plan.layers,
        "--size": plan.size,
        "--seed": options.seed,
        "the set of images": crops.words,
        "the fingerprint of the images": hashlib.blake2b(repr((crops, stamps)).encode(), digest_size=12).hexdigest(),
        "the fingerprint of the weights": resume.digest(plan.named.model),
    }


def _notes(options: argparse.Namespace, plan: Plan, fields: Sequence[ERFMap], samples: int) -> str:
    """What the table does not say by itself."""
    unit = fields[0].position if len(fields) == 1 else plan.settings["positions"][0]
    lines = [
        "TRF: theoretical receptive field, outside: its share outside the input; ERF: side of the box around the unit",
        "centre that holds this share of the map; sigma, R²: Gaussian fit. Lengths in pixels, ± one standard error.",
        f"Unit: {unit}, {channel_words(fields[0].recipe)}.",
    ]
    if options.layout is None and plan.layout is channels_last:
        lines.append("Layout: channels last, read off the shapes of the outputs; --layout sets it.")
    lines += [
        f"{field.layer}: {field.num_dead} of {field.num_samples} samples have no gradient at all."
        for field in fields
        if field.num_dead
    ]
    normed = [name for name in plan.layers if models.ends_in_layer_norm(plan.named.model, plan.shapes, name)]
    if normed and plan.settings["channel"] is None:
        lines.append(
            f"{', '.join(normed)}: a layer norm makes the sum over channels nearly constant, so that this map is "
            "mostly noise; take the layer before it, or --channel random."
        )
    if options.target_error is not None:
        error = max(relative_error(field) for field in fields)
        verdict = "reached" if error <= options.target_error else "not reached"
        lines.append(
            f"Target error {options.target_error:g} {verdict}: {error:.2g} after {fields[0].num_samples} of {samples} "
            "samples."
        )
    return "\n".join(lines)


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: value for name, value in vars(options).items() if value is not None}
    return {name: str(value) if isinstance(value, Path) or callable(value) else value for name, value in given.items()}
