"""Random-weight studies: the field of an architecture, averaged over networks with re-drawn weights.

Luo et al. (NeurIPS 2016, section 3) measure untrained networks so. The networks, not the samples, are the independent
draws, so all samples of a draw share a group of the jackknife.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from ..attribution import EffectiveReceptiveField
from ..erfmap import ERFMap
from ..measurement import ranks as distributed
from ..measurement.accumulator import ERFAccumulator
from ..network.units import Position
from ..result.sums import BY_GROUP

LOOP_OPTIONS = ("max_samples", "target_error", "show_progress")


def aggregate_draws(
    make_erf: Callable[[], EffectiveReceptiveField],
    dataloader: Iterable[Any],
    *,
    position: Position = "center",
    **options: Any,
) -> ERFMap:
    r"""
    Effective receptive field of one unit, averaged over draws: a network from ``make_erf`` for every batch.

    Args:
        make_erf (Callable): Makes an ``EffectiveReceptiveField`` of one layer of a network with new weights.
        dataloader (Iterable): Batches of inputs, one for each draw.
        position (str or tuple): The unit.
        **options: Keywords of ``EffectiveReceptiveField.accumulator``.

    Returns:
        *ERFMap* whose standard errors are those over draws, and whose recipe tells their number as ``draws``.

    Raises:
        TypeError: ``make_erf`` makes something else.
        ValueError: The draws differ in their theoretical field, or there is none.

    Examples::

        >>> from torch import nn
        >>> def make_erf():
        ...     return EffectiveReceptiveField(nn.Sequential(nn.Conv1d(1, 8, 3), nn.Conv1d(8, 8, 3)), "1")
        >>> field = aggregate_draws(make_erf, torch.randn(20, 4, 1, 15))
        >>> field.num_samples, field.recipe["draws"]
        (80, 20)
    """
    refused = [name for name in LOOP_OPTIONS if name in options]
    if refused:
        raise ValueError(
            f"{refused[0]} does not apply to re-drawn networks, of which each takes one whole batch; pass as many "
            "batches as draws are wanted."
        )
    total: ERFAccumulator | None = None
    draws = 0
    with distributed.together() if distributed.in_job() else nullcontext():
        for draws, batch in enumerate(dataloader, start=1):
            one = _accumulator(make_erf, position, options)
            one.update(batch)
            before = 0 if total is None else total.num_samples
            one.load_state_dict(_in_one_group(one.state_dict(), draws - 1 - before))
            if total is None:
                total = one
            else:
                total.merge(one)
        total = total or _accumulator(make_erf, position, options)
    if distributed.in_job():
        draws = sum(distributed.gather(draws))
        total.all_reduce()
    (field,) = total.compute()
    return replace(field, recipe=field.recipe | {"draws": draws})


def _accumulator(
    make_erf: Callable[[], EffectiveReceptiveField], position: Position, options: dict[str, Any]
) -> ERFAccumulator:
    erf = make_erf()
    if not isinstance(erf, EffectiveReceptiveField) or isinstance(erf.layer, list):
        found = "one of several layers" if isinstance(erf, EffectiveReceptiveField) else type(erf).__name__
        raise TypeError(
            f"The factory must make an EffectiveReceptiveField of one layer, got {found}; write it as "
            'lambda: EffectiveReceptiveField(make_model(), "layer4").'
        )
    return erf.accumulator(positions=(position,), **options)


def _in_one_group(state: dict[str, Any], group: int) -> dict[str, Any]:
    """The state with all samples in one group, counted modulo the number of groups."""
    for key in ("sums", *BY_GROUP):
        gathered = [torch.zeros_like(item) for item in state[key]]
        for empty, item in zip(gathered, state[key], strict=True):
            empty[group % len(item)] = item.sum(0)
        state[key] = gathered
    return state
