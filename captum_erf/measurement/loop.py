"""The loop over a data loader: when to stop, and what the ranks of a job do at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from math import ceil, inf
from numbers import Integral, Real
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset, IterableDataset
from tqdm import tqdm

from ..erfmap import ERFMap
from ..network.units import GRID
from ..result.statistics import DIAMETERS
from . import ranks as distributed
from .accumulator import ERFAccumulator
from .rehearsal import WindowRefuted

BAR = "{l_bar}{bar}| {n:g}/{total_fmt} batches [{elapsed}<{remaining}]"
SAMPLES_PER_GROUP = 2  # from which on target_error is looked at


def run_through(
    accumulator: ERFAccumulator,
    dataloader: Iterable[Any],
    *,
    max_samples: int | None = None,
    target_error: float | None = None,
    min_samples: int = 0,
    skip_dead: bool = False,
    show_progress: bool = False,
) -> list[ERFMap]:
    """
    Feeds the batches to the accumulator until one of the limits is reached, and returns its maps.

    ``min_samples`` are looked at before ``target_error`` can stop the run.
    Where a window is refuted on the way, the batches are gone through once more, without it, if they can be.
    """
    skip_dead = skip_dead or accumulator.measurement.positions == GRID
    if max_samples is not None and (not _is_whole(max_samples) or max_samples < 1):
        raise ValueError(f"max_samples must be a whole number of 1 or more, got {max_samples!r}.")
    if target_error is not None:
        _check_target(target_error, accumulator)
    if isinstance(dataloader, Tensor) and dataloader.ndim == 4:
        raise ValueError(
            f"The data loader is a tensor of shape {tuple(dataloader.shape)}, which may be one batch or several; pass "
            "[tensor] for one batch, list(tensor) for several."
        )
    if isinstance(dataloader, Dataset) and not isinstance(dataloader, IterableDataset):
        raise TypeError(
            f"The data loader is a data set, {type(dataloader).__name__}, which gives samples one by one; pass "
            "torch.utils.data.DataLoader(dataset, batch_size=16)."
        )
    accumulator.expect(_num_batches(dataloader), max_samples)
    if not distributed.in_job():
        can_start_over = accumulator.num_samples == 0 and not isinstance(dataloader, Iterator)
        try:
            _feed(accumulator, dataloader, max_samples, target_error, show_progress, min_samples)
        except WindowRefuted:
            if not can_start_over:
                raise
            accumulator.start_over()
            _feed(accumulator, dataloader, max_samples, target_error, show_progress, min_samples)
        return accumulator.compute(skip_dead=skip_dead)
    with distributed.together():
        _feed(accumulator, dataloader, distributed.share_of(max_samples), None, show_progress)
    accumulator.all_reduce()
    return accumulator.compute(skip_dead=skip_dead)


def _feed(
    accumulator: ERFAccumulator,
    dataloader: Iterable[Any],
    max_samples: int | None,
    target_error: float | None,
    show_progress: bool,
    min_samples: int = 0,
) -> None:
    if max_samples == 0:
        return
    total = _num_batches(dataloader)
    with tqdm(total=total, desc="ERF, planning", disable=not show_progress, bar_format=BAR) as bar:
        for number, batch in enumerate(dataloader):
            left = None if max_samples is None else max_samples - accumulator.num_samples
            accumulator.update(batch, limit=left, advance=partial(_advance, bar, number))
            _advance(bar, number, 1.0)
            if max_samples is not None and accumulator.num_samples >= max_samples:
                return
            if number == 0 and left is not None and accumulator.num_samples:
                needed = ceil(left / accumulator.num_samples)
                bar.total = needed if total is None else min(total, needed)
            enough = accumulator.num_samples >= min_samples
            if target_error is not None and enough and _precise_enough(accumulator, target_error):
                return


def _advance(bar: tqdm[Any], number: int, share: float) -> None:
    """Moves the bar on to a share of a batch."""
    bar.set_description("ERF", refresh=False)
    bar.update(round(number + share, 2) - bar.n)


def _num_batches(dataloader: Iterable[Any]) -> int | None:
    """How many batches will come, where the loader knows."""
    try:
        return len(dataloader)  # type: ignore[arg-type]
    except TypeError:
        return None


def _is_whole(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def _check_target(target_error: float, accumulator: ERFAccumulator) -> None:
    if isinstance(target_error, bool) or not isinstance(target_error, Real) or not 0 < target_error < inf:
        raise ValueError(f"target_error must be a positive share, such as 0.02 for 2 %, got {target_error!r}.")
    if accumulator.measurement.groups < 2:
        raise ValueError(
            f"target_error needs a standard error, so two groups or more; got groups={accumulator.measurement.groups}."
        )
    if accumulator.measurement.magnitude == "signed":
        raise ValueError(
            'target_error is about the box that holds half of the map, and with magnitude="signed" the map has '
            "negative values; pass max_samples instead, or another magnitude."
        )
    if distributed.in_job():
        raise ValueError(
            "target_error cannot stop a torch.distributed job, whose ranks may hold different numbers of batches; pass "
            "max_samples, or measure on one process."
        )


def _precise_enough(accumulator: ERFAccumulator, target_error: float) -> bool:
    if accumulator.num_samples < SAMPLES_PER_GROUP * accumulator.measurement.groups or accumulator.has_dead_unit:
        return False
    return all(relative_error(field) <= target_error for field in accumulator.compute())


def relative_error(field: ERFMap) -> float:
    """Standard error of the side of the box that holds half of the mass, over that side."""
    side, error = field.estimate(DIAMETERS[0.5].formula)
    return inf if error is None else float(error / side)
