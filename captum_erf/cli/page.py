"""The page to explore: every unit of a coarse grid of every measured layer, over the photographs."""

from __future__ import annotations

import argparse
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from .. import visualization
from ..attribution import EffectiveReceptiveField
from ..erfmap import ERFMap
from ..measurement.accumulator import ERFAccumulator
from ..measurement.loop import run_through
from ..measurement.measurement import Measurement
from ..result.sums import BY_GROUP
from .measure import Measured
from .plan import Case, Settings
from .samples import COLOURS, Samples, loader, numbers_of

SHOWN = 3  # images that lie beneath, each also with the map of its own
MANY = 128  # units from which on their summaries are worth processes of their own


def write_page(file: Path, *, options: argparse.Namespace, settings: Settings, measured: Sequence[Measured]) -> None:
    """Measures units all over the layers, also on the images alone that are shown, and writes the page."""
    keywords = settings.keywords | {"positions": "grid", "get_groups": numbers_of}
    units: dict[str, list[ERFMap]] = {}
    alone: dict[str, list[ERFMap]] = {}
    for found in measured:
        name = name_of(found.case)
        torch.manual_seed(options.seed)
        batches = loader(found.samples, batch_size(options, found.samples))
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
    watched = _Watched(batches, erf.accumulator(**keywords), shown)
    return run_through(watched.accumulator, watched, show_progress=True), watched.alone


@dataclass
class _Watched:
    """Batches; while each group still holds one sample, the sums of the first groups are kept."""

    batches: DataLoader[Any]
    accumulator: ERFAccumulator
    shown: int
    alone: list[ERFMap] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        self.alone = []
        for batch in self.batches:
            yield batch
            if not self.alone and self.accumulator.num_samples >= self.shown:
                with warnings.catch_warnings(action="ignore"):
                    found = self.accumulator.compute(skip_dead=True)
                self.alone = [_first_groups(one, self.shown) for one in found]


def _first_groups(found: ERFMap, number: int) -> ERFMap:
    first = {name: getattr(found.groups, name)[:number].copy() for name in ("sums", *BY_GROUP)}
    return replace(found, groups=replace(found.groups, **first))


def batch_size(options: argparse.Namespace, samples: Samples) -> int:
    """No more samples than there are groups and images, so that the first batch has one in each group."""
    most = samples.num_images if samples.num_images > 1 else Measurement.groups
    return min(int(options.batch_size), Measurement.groups, most)


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
