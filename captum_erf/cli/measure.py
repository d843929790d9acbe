"""Measuring one network with one set of weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..attribution import EffectiveReceptiveField
from ..erfmap import ERFMap
from ..measurement.loop import run_through
from ..text import times
from . import naming, resume
from .options import UsageError
from .plan import Case, Settings
from .samples import Samples, Watched, independent_words, loader, numbers_of
from .terminal import say, tell


@dataclass(frozen=True)
class Measured:
    """A case, what it was measured on, and its maps."""

    case: Case
    samples: Samples
    erf: EffectiveReceptiveField
    fields: list[ERFMap]


def measure(settings: Settings, case: Case, samples: Samples) -> Measured:
    options = settings.options
    if settings.several:
        say(f"measuring {case.wanted.name}, {case.label}")
    torch.manual_seed(options.seed)
    erf = EffectiveReceptiveField(case.found.model, case.layers, layout=case.reading.layout, call=options.call)
    accumulator = erf.accumulator(**settings.keywords, get_groups=numbers_of)
    saved = options.resume and _saved_run(settings, case, samples)
    if saved:
        try:
            if saved.load(accumulator):
                done = f"{accumulator.num_samples} of {len(samples)} samples"
                tell(f"Going on after {done}, from {saved.file}\n")
        except ValueError as error:
            raise UsageError(str(error)) from error
    batches = loader(samples, options.batch_size, first=accumulator.num_samples)

    def save(number: int) -> None:
        if saved and (number % options.save_every == 0 or number == len(batches)):
            saved.write(accumulator)

    fields = run_through(
        accumulator,
        Watched(batches, save),
        target_error=options.target_error,
        min_samples=options.min_samples or 0,
        skip_dead=True,
        show_progress=True,
    )
    return Measured(case, samples, erf, [_with_origin(settings, case, samples, field) for field in fields])


def _with_origin(settings: Settings, case: Case, samples: Samples, field: ERFMap) -> ERFMap:
    """The map whose recipe tells of what network, weights and images it is, and over what its errors run."""
    origin = {"model": case.wanted.name, "weights": case.found.weights, "images": samples.words}
    if settings.options.spacing is not None:
        origin["spacing"] = str(settings.options.spacing)
    independent = independent_words(samples, field.num_samples)
    over = {} if independent is None else {"num_images": None, "error_over": independent}
    return replace(field, recipe=field.recipe | origin | over)


def _saved_run(settings: Settings, case: Case, samples: Samples) -> resume.SavedRun:
    options, file = settings.options, settings.options.resume
    if settings.several:
        file = naming.state_file(file, case)
    run = {
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
    return resume.SavedRun(file, run)
