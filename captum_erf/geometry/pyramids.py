"""Pyramid windows: on the way through the network, activations are cropped to what one unit still needs of them.

A crop is kept where it shrinks the living area. It starts at a multiple of the coarsest stride from there on, so that
all that follows falls on the same places, and ends with what is needed, or with the border where that is touched.

What was needed is seen in the gradient of one sample, so that a pyramid is proven before it is used: with NaN in all
that its crops would cut away the unit stays finite (ReLU and max pooling keep NaN on the way forward, not on the way
back), and the sample's values and gradient come out the same with and without crops. A crop that fails is dropped, the
others stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import Module

from ..network.crops import Crop, blanking, cropping
from .places import Place, Scalar, View, box_of
from .region import Region

LARGEST_SHARE = 0.85  # of the living area that a crop may leave
SMALLEST_GAIN = 0.005  # of the work of a pass that a crop must save
EFFORT = 3.0  # passes to the layer, forward only, that a proof may take
RunLayer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pyramid:
    """
    Crops on the way to a unit.

    Attributes:
        crops (tuple[Crop, ...]): In the order in which their modules run.
        index (tuple[int, ...]): The unit's, in the grid that the crops leave.
        work (float): Of a forward pass with the crops.
    """

    crops: tuple[Crop, ...]
    index: tuple[int, ...]
    work: float

    @property
    def kind(self) -> tuple[tuple[Module, tuple[int, ...]], ...]:
        """Pyramids of one kind can share a pass."""
        return tuple((crop.module, crop.shape) for crop in self.crops)


def pyramid_of(places: Sequence[Place], unit: tuple[int, ...], work: float) -> Pyramid:
    """The pyramid that crops at each of the places; ``work`` is that of the pass without crops."""
    crops: list[Crop] = []
    done, total, alive = 0.0, 0.0, 1.0
    moved = (Fraction(0),) * len(unit)
    for place, start in zip(places, _starts(places, unit), strict=True):
        shape = tuple(stop - first for stop, first in zip(place.needed.stop, start, strict=True))
        before = tuple(int(units * stride) for units, stride in zip(moved, place.stride, strict=True))
        crops.append(Crop(place.module, place.axes, place.size, start, shape, before))
        moved = tuple(first / stride for first, stride in zip(start, place.stride, strict=True))
        total += alive * (place.work - done)
        done, alive = place.work, math.prod(shape) / math.prod(place.size)
    index = tuple(int(u - units) for u, units in zip(unit, moved, strict=True))
    return Pyramid(tuple(crops), index, total + alive * (work - done))


def _starts(places: Sequence[Place], unit: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Where each crop starts: nowhere behind the crops after it, in units of the layer, nor behind the unit."""
    starts: list[tuple[int, ...]] = []
    latest = tuple(map(Fraction, unit))
    for place in reversed(places):
        reached = zip(place.needed.offset, latest, place.stride, place.step, strict=True)
        starts.insert(0, tuple(int(min(first, last * stride) // step) * step for first, last, stride, step in reached))
        latest = tuple(first / stride for first, stride in zip(starts[0], place.stride, strict=True))
    return starts


def worth_cropping(places: Sequence[Place], unit: tuple[int, ...], work: float) -> list[Place]:
    """The places at which a crop shrinks the living area, with work behind them that it saves."""
    chosen: list[Place] = []
    alive = 1.0
    for place, start in zip(places, _starts(places, unit), strict=True):
        share = math.prod(stop - first for stop, first in zip(place.needed.stop, start, strict=True))
        share /= math.prod(place.size)
        saved = (alive - share) * (work - place.work)
        if share <= LARGEST_SHARE * alive and saved >= SMALLEST_GAIN * work:
            chosen.append(place)
            alive = share
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
        field (Region, optional): The part of the sample that the unit sees, where that is known.
    """

    run: RunLayer
    sample: Tensor
    view: View
    unit: tuple[int, ...]
    scalar: Scalar
    tolerance: float
    field: Region | None = None
    effort: float = 0.0

    def find(self) -> Pyramid | None:
        """A pyramid that holds, with as many crops as could be proven; None where there is none."""
        places = {place.module: place for place in self._sealed()}
        in_steps: set[Module] = set()
        while True:
            chosen = worth_cropping(list(places.values()), self.unit, self.view.work)
            if not chosen:
                return None
            failing = self._failing([], chosen)
            if not failing:
                return self._pyramid(chosen)
            for place in failing:
                whole = place.in_whole_steps()
                if place.module in in_steps or whole == place or self._is_spent():
                    del places[place.module]
                else:
                    places[place.module] = whole
                    in_steps.add(place.module)

    def _sealed(self) -> list[Place]:
        """The places, with so much taken for needed that nothing else of them reaches the unit."""
        seen = box_of(self.view.gradient, range(2, self.sample.ndim))
        places = self.view.places if self.field in (None, seen) else self.view.widened()
        remedies = [self.view.widened, lambda: [place.grown(1) for place in places]]
        while places and any(self._leak([places])):
            if not remedies:
                chosen = worth_cropping(places, self.unit, self.view.work)
                leaks = self._leak([[place] for place in chosen])
                return [place for place, has_leaked in zip(chosen, leaks, strict=True) if not has_leaked]
            before, places = places, remedies.pop(0)()
            if places == before:
                places = remedies.pop(0)()
        return places

    def _pyramid(self, places: Sequence[Place]) -> Pyramid:
        return pyramid_of(places, self.unit, self.view.work)

    def _is_spent(self) -> bool:
        return self.effort >= EFFORT * self.view.work

    def _failing(self, sound: list[Place], suspects: list[Place]) -> list[Place]:
        """Those of the suspects with which the sample does not come out the same, by halves."""
        if not self._is_spent() and self.holds(self._pyramid(sound + suspects)):
            return []
        if len(suspects) == 1 or self._is_spent():
            return suspects
        middle = len(suspects) // 2
        early = self._failing(sound, suspects[:middle])
        kept = [place for place in suspects[:middle] if place not in early]
        return early + self._failing(sound + kept, suspects[middle:])

    def holds(self, pyramid: Pyramid) -> bool:
        """Whether the sample's values and gradient are the same with the crops."""
        self.effort += pyramid.work
        leaf = self.sample.detach().clone().requires_grad_()
        try:
            with cropping([pyramid.crops]):
                output = self.run(leaf)
            values = output[(slice(None), slice(None), *pyramid.index)]
            if not agree(values.detach(), self.view.values, self.tolerance):
                return False
            self.effort += pyramid.work
            (gradient,) = torch.autograd.grad(self.scalar(values).sum(), leaf)
        except Exception:
            return False
        return agree(gradient, self.view.gradient, self.tolerance)

    def _leak(self, blocks: Sequence[Sequence[Place]]) -> list[bool]:
        """For each block of places, whether the unit needs more of one of them; one pass shows it for all."""
        nothing = (0,) * len(self.unit)
        crops = [
            [Crop(p.module, p.axes, p.size, p.needed.offset, p.needed.shape, nothing) for p in block] for block in blocks
        ]
        self.effort += len(blocks) * self.view.work
        try:
            with torch.no_grad(), blanking(crops):
                output = self.run(self.sample.repeat(len(blocks), *[1] * (self.sample.ndim - 1)))
        except Exception:
            return [True] * len(blocks)
        reached: list[bool] = output[(slice(None), slice(None), *self.unit)].isnan().any(1).tolist()
        return reached


def agree(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether two tensors are the same up to a share of the largest value expected."""
    if found.shape != expected.shape:
        return False
    return float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())
