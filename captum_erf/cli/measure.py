"""Measuring one network with one set of weights."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..attribution import EffectiveReceptiveField
from ..erfmap import ERFMap
from ..measurement.loop import run_through
from ..text import times
from . import files, resume
from .options import UsageError
from .plan import Case, Settings
from .samples import Samples, independent_words, numbers_of
from .terminal import say, tell


@dataclass(frozen=True)
class Measured:
    """A case, what it was measured on, and its maps."""

    case: Case
    samples: Samples
    erf: EffectiveReceptiveField
    fields: list[ERFMap]


def measure(options: argparse.Namespace, settings: Settings, case: Case, samples: Samples, several: bool) -> Measured:
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
    origin: dict[str, Any] = {"model": case.wanted.name, "weights": case.found.weights, "images": samples.words}
    if options.spacing is not None:
        origin["spacing"] = str(options.spacing)
    return Measured(case, samples, erf, [_with_origin(field, samples, origin) for field in fields])


def _with_origin(field: ERFMap, samples: Samples, origin: dict[str, Any]) -> ERFMap:
    """The map whose recipe tells of what network, weights and images it is, and over what its errors run."""
    independent = independent_words(samples, field.num_samples)
    over = {} if independent is None else {"num_images": None, "error_over": independent}
    return replace(field, recipe=field.recipe | origin | over)


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
        **{name: getattr(options, name) for name in ("seed", "normalize", "window", "protocol", "autocast", "layout")},
        "position": str(settings.keywords["positions"][0]),
        "channel": "all" if options.channel is None else options.channel,
        "samples": samples.words,
        "files": resume.stamp(samples),
        "weights": resume.digest(case.found.model),
    }
    return resume.SavedRun(file, resume.Identity(identity), options.save_every)
