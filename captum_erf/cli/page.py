"""The page to explore: every unit of a coarse grid of every measured layer, over the photographs."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from .. import visualization
from ..attribution import EffectiveReceptiveField
from ..erfmap import ERFMap
from ..measurement.loop import run_through
from ..measurement.measurement import Measurement
from ..result.sums import BY_GROUP
from .measure import Measured
from .plan import Case, Settings
from .samples import COLOURS, Samples, Watched, loader, numbers_of

SHOWN = 3  # images that lie beneath, each also with the map of its own
MANY = 128  # units from which on their summaries are worth processes of their own


def write_page(file: Path, settings: Settings, measured: Sequence[Measured]) -> None:
    """Measures units all over the layers, also on the images alone that are shown, and writes the page."""
    keywords = settings.keywords | {"positions": "grid", "get_groups": numbers_of}
    units: dict[str, list[ERFMap]] = {}
    alone: dict[str, list[ERFMap]] = {}
    for found in measured:
        name = name_of(found.case)
        torch.manual_seed(settings.options.seed)
        batches = loader(found.samples, batch_size(settings, found.samples))
        units[name], alone[name] = sweep(found.erf, batches, num_shown(found.samples), **keywords)
    with _workers(sum(map(len, units.values()))) as executor:
        visualization.write_page(
            file, units, pictures(measured[0].samples), image_fields=alone, show_progress=True, executor=executor
        )


@contextmanager
def _workers(num_units: int) -> Iterator[Executor | None]:
    """A process on each core where there is work for them; an interrupt is the command's to answer, not theirs."""
    if num_units < MANY:
        yield None
        return
    ignore = (signal.SIGINT, signal.SIG_IGN)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ProcessPoolExecutor(cores, get_context("spawn"), signal.signal, ignore) as executor:
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def sweep(
    erf: EffectiveReceptiveField, batches: DataLoader[Any], shown: int, **keywords: Any
) -> tuple[list[ERFMap], list[ERFMap]]:
    """The maps of units over all batches, and over each of the first images alone."""
    accumulator, alone = erf.accumulator(**keywords), list[ERFMap]()

    def keep(number: int) -> None:
        """While each group still holds one sample, the sums of the first groups are those of the first images."""
        if number == 1:
            alone.clear()
        if not alone and accumulator.num_samples >= shown:
            with warnings.catch_warnings(action="ignore"):
                found = accumulator.compute(skip_dead=True)
            alone.extend(_first_groups(one, shown) for one in found)

    return run_through(accumulator, Watched(batches, keep), show_progress=True), alone


def _first_groups(found: ERFMap, number: int) -> ERFMap:
    first = {name: getattr(found.groups, name)[:number].copy() for name in ("sums", *BY_GROUP)}
    return replace(found, groups=replace(found.groups, **first))


def batch_size(settings: Settings, samples: Samples) -> int:
    """No more samples than there are groups and images, so that the first batch has one in each group."""
    most = samples.num_images if samples.num_images > 1 else Measurement.groups
    return min(int(settings.options.batch_size), Measurement.groups, most)


def num_shown(samples: Samples) -> int:
    """How many of the first samples are shown: no two of one image, unless there is only one image."""
    return min(SHOWN, samples.num_images if samples.num_images > 1 else len(samples))


def name_of(case: Case) -> str:
    """What the page calls a network with its weights."""
    return f"{case.wanted.short}, {case.label}"


def pictures(samples: Samples) -> dict[str, Tensor]:
    """The images that lie beneath, by their names; of other than colour and grey images the mean over channels."""
    shown = {samples.name_of(number): samples[number] for number in range(num_shown(samples))}
    return {name: image if len(image) in COLOURS else image.mean(0) for name, image in shown.items()}
