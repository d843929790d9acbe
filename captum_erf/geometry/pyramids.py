"""Pyramid windows: on the way through the network, activations are cropped to what one unit still needs of them.

A crop is kept where it shrinks the living area. It starts at a multiple of the coarsest stride from there on, so that
all that follows falls on the same places, and ends with what is needed, or with the border where that is touched.

What was needed is seen in the gradient of one sample, so that a pyramid is proven before it is used: with NaN in all
that its crops would cut away the unit stays finite (ReLU and max pooling keep NaN on the way forward, not on the way
back), and the sample's values and gradient come out the same with and without crops. A crop that fails is dropped, the
others stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import groupby
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from ..network.crops import Crop, Detour, Step, blanking, cropping
from .nan_mode import safe_nan
from .places import Place, Scalar, View, at_unit, box_of
from .region import Region

LARGEST_SHARE = 0.85  # of the living area that a crop may leave
SMALLEST_GAIN = 0.005  # of the work of a pass that a crop must save
EFFORT = 4.0  # passes to the layer, forward only, that a proof may take
RunLayer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pyramid:
    """
    Crops on the way to a unit.

    Attributes:
        steps (tuple[Crop | Detour, ...]): In the order in which their modules run.
        index (tuple[int, ...]): The unit's, in the grid that they leave.
        work (float): Of a forward pass with them.
    """

    steps: tuple[Step, ...]
    index: tuple[int, ...]
    work: float

    @classmethod
    def plain(cls, unit: tuple[int, ...], work: float = 0.0) -> Pyramid:
        """A pass without crops."""
        return cls((), unit, work)

    @property
    def kind(self) -> tuple[Any, ...]:
        """Pyramids of one kind can share a pass."""
        detours = [step if isinstance(step, Detour) else Detour((step,), step.module, step.size) for step in self.steps]
        return tuple((d.end, *((crop.module, crop.shape) for crop in d.crops)) for d in detours)


def pyramid_of(places: Sequence[Place], unit: tuple[int, ...], work: float) -> Pyramid:
    """The pyramid that crops at each of the places; ``work`` is that of the pass without crops."""
    steps: list[Step] = []
    spent = _Spent()
    outside = (Fraction(0),) * len(unit)
    for end, group in groupby(places, attrgetter("end")):
        crops, inside = [], outside
        for place in group:
            moved = tuple(int(units * stride) for units, stride in zip(inside, place.stride, strict=True))
            crops.append(replace(blank(place), moved=moved))
            inside = place.moved
            spent.crop(place)
        if end is None:
            steps.extend(crops)
            outside = inside
        else:
            steps.append(Detour(tuple(crops), end.module, end.size))
    index = tuple(int(u - units) for u, units in zip(unit, outside, strict=True))
    return Pyramid(tuple(steps), index, spent.until(work))


class _Spent:
    """Work of a pass with crops, as far as it is known: what is alive of an activation is what there is to work on."""

    def __init__(self) -> None:
        self.outside = self.alive = 1.0
        self.branch: Place | None = None
        self.done = self.total = 0.0

    def until(self, work: float) -> float:
        """What has been spent where a pass without crops has done so much work."""
        if self.branch is not None and work >= self.branch.work:
            self._add(self.branch.work)
            self.alive, self.branch = self.outside, None
        self._add(work)
        return self.total

    def crop(self, place: Place) -> None:
        """From the place on, only what is needed is alive."""
        self.until(place.work)
        self.alive, self.branch = place.share, place.end
        if place.end is None:
            self.outside = place.share

    def _add(self, work: float) -> None:
        self.total += self.alive * (work - self.done)
        self.done = work


def worth_cropping(places: Sequence[Place], work: float) -> list[Place]:
    """The places at which a crop shrinks the living area, with work behind them that it saves."""
    chosen: list[Place] = []
    spent = _Spent()
    for place in places:
        spent.until(place.work)
        if spent.branch not in (None, place.end):
            continue
        saved = (spent.alive - place.share) * ((place.end.work if place.end else work) - place.work)
        if place.share <= LARGEST_SHARE * spent.alive and saved >= SMALLEST_GAIN * work:
            chosen.append(place)
            spent.crop(place)
    return chosen


@dataclass
class Proof:
    """
    What can be shown of pyramids with one sample.

    Args:
        run (Callable): Runs the network on a measured input and gives the layer's output, read as ``(N, C, *grid)``.
        sample (Tensor): The measured input, of one sample.
        view (View): What the sample shows of the unit without crops.
        unit (tuple[int, ...]): The unit's index.
        scalar (Callable): What the view's gradient is of.
        tolerance (float): By how much of their maximum values and gradients may differ.
        seen (Region, optional): The part of the sample that the unit sees, where that is known.
    """

    run: RunLayer
    sample: Tensor
    view: View
    unit: tuple[int, ...]
    scalar: Scalar
    tolerance: float
    seen: Region | None = None
    effort: float = 0.0
    dropped: set[Module] = field(default_factory=set)
    in_steps: set[Module] = field(default_factory=set)
    best: Pyramid | None = None

    def find(self) -> Pyramid | None:
        """A pyramid that holds, with as many crops as could be proven; None where there is none."""
        places = self.view.places
        remedies: list[Callable[[], list[Place]]] = [self.view.widened, lambda: [place.grown(1) for place in places]]
        if self.seen not in (None, box_of(self.view.gradient, range(2, self.sample.ndim))):
            places = remedies.pop(0)()
        sealed: set[Module] = set()
        while not self._is_spent() and (chosen := worth_cropping(self._left(places), self.view.work)):
            modules = {place.module for place in chosen}
            if not modules <= sealed:
                if not self._leak([chosen])[0]:
                    sealed |= modules
                elif remedies:
                    places = remedies.pop(0)()
                else:
                    leaks = self._leak([[place] for place in chosen])
                    self.dropped |= {place.module for place, leaked in zip(chosen, leaks, strict=True) if leaked}
                continue
            failing = self._failing(chosen)
            if not failing:
                break
            for place in failing:
                can_grow = place.end is None and place.in_whole_steps() != place
                (self.in_steps if can_grow else self.dropped).add(place.module)
        return self.best

    def _left(self, places: Iterable[Place]) -> list[Place]:
        left = [place for place in places if place.module not in self.dropped]
        return [place.in_whole_steps() if place.module in self.in_steps else place for place in left]

    def _is_spent(self) -> bool:
        return self.effort >= EFFORT * self.view.work

    def _failing(self, places: list[Place]) -> list[Place]:
        """
        Those of the places at which the sample may not be cropped.

        What cannot take a crop from one place cannot take it from a place before, so that of those outside branches
        the last ones are kept; branches are tried by halves.
        """
        if self._holds(places):
            return []
        outside = [place for place in places if place.end is None]
        low, high = 0, len(outside)
        while low < high:
            middle = (low + high) // 2
            if self._holds(outside[middle:]):
                high = middle
            else:
                low = middle + 1
        inside = [place for place in places if place.end is not None]
        return outside[:low] + self._failing_branches(places, outside[:low], inside)

    def _failing_branches(self, places: list[Place], failing: list[Place], suspects: list[Place]) -> list[Place]:
        """Those of the suspects that fail, where all other places but those that fail anyway hold."""
        if not suspects or self._holds([place for place in places if place not in failing]):
            return []
        if len(suspects) == 1:
            return suspects
        halves = suspects[: len(suspects) // 2], suspects[len(suspects) // 2 :]
        early = self._failing_branches(places, failing + halves[1], halves[0])
        return early + self._failing_branches(places, failing + early, halves[1])

    def _holds(self, places: Sequence[Place]) -> bool:
        if self._is_spent():
            return False
        pyramid = pyramid_of(places, self.unit, self.view.work)
        if not self.holds(pyramid):
            return False
        if self.best is None or pyramid.work < self.best.work:
            self.best = pyramid
        return True

    def holds(self, pyramid: Pyramid) -> bool:
        """Whether the sample's values and gradient are the same with the crops."""
        self.effort += pyramid.work
        leaf = self.sample.detach().clone().requires_grad_()
        try:
            with cropping([pyramid.steps]):
                values = at_unit(self.run(leaf), pyramid.index)
                if not agree(values.detach(), self.view.values, self.tolerance):
                    return False
                self.effort += pyramid.work
                (gradient,) = torch.autograd.grad(self.scalar(values).sum(), leaf)
        except Exception:
            return False
        return agree(gradient, self.view.gradient, self.tolerance)

    def _leak(self, blocks: Sequence[Sequence[Place]]) -> list[bool]:
        """For each block of places, whether the unit needs more of one of them; one pass shows it for all."""
        crops = [[blank(place) for place in _with_ends(block)] for block in blocks]
        self.effort += len(blocks) * self.view.work
        try:
            with torch.no_grad(), safe_nan(), blanking(crops):
                output = self.run(self.sample.repeat(len(blocks), *[1] * (self.sample.ndim - 1)))
        except Exception:
            return [True] * len(blocks)
        reached: list[bool] = at_unit(output, self.unit).isnan().any(1).tolist()
        return reached


def _with_ends(places: Iterable[Place]) -> set[Place]:
    """Places with those that close their branches."""
    return {found for place in places for found in (place, place.end) if found is not None}


def blank(place: Place) -> Crop:
    """The crop to what is needed, where nothing has been cropped before."""
    return Crop(place.module, place.axes, place.size, place.needed.offset, place.needed.shape, (0,) * len(place.size))


def agree(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether two tensors are the same up to a share of the largest value expected."""
    if found.shape != expected.shape:
        return False
    return float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())
