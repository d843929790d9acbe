"""What is cheaper: one forward pass over the whole input for many units, or a pass of its own for each, with crops.

Work is counted in forward passes' own units; a backward pass takes about as much as the forward pass before it. With a
shared pass every unit costs its backward pass, and the deepest of the sharing units one forward pass more. Alone, a
unit costs both, but with its crops. Planning crops takes work as well, which has to come back over the samples that
are expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MANY = 256  # samples that are expected where nobody knows
PLANNING = 1.5  # samples without crops that proving a pyramid takes
WINDOW = 0.8  # of a unit's work in a pass that its layer's units share, which a window of its own may take
WITNESSES = 5.0  # samples over the whole input with which its values are compared, at the start and later


@dataclass(frozen=True)
class Costs:
    """Of one unit: the work of a forward pass over the whole input up to its layer, and of one with crops."""

    whole: float
    cropped: float

    @property
    def share(self) -> float:
        """Of the work that crops leave."""
        return self.cropped / self.whole if self.whole else 1.0


def pays(cropped_share: float, expected: int, planning: float = PLANNING) -> bool:
    """
    Whether crops that leave a share of the work save more than planning them takes, over as many samples.

    Examples::

        >>> pays(0.5, 8), pays(0.9, 8), pays(0.9, 256)
        (True, False, True)
    """
    return (1 - cropped_share) * expected > planning


def is_worth_a_window(share: float, units: int) -> bool:
    """
    Whether one of so many units of a layer runs on a share of the input, rather than on the whole with the others.

    Examples::

        >>> is_worth_a_window(0.95, 1), is_worth_a_window(0.5, 49), is_worth_a_window(0.2, 49)
        (True, False, True)
    """
    return units == 1 or 2 * share < WINDOW * (1 + 1 / units)


def alone(costs: Sequence[Costs], expected: int) -> list[bool]:
    """
    Which units run alone, each with its crops; the others share a forward pass.

    Examples::

        >>> alone([Costs(10, 9), Costs(10, 9), Costs(10, 2)], 256)
        [False, False, True]
        >>> alone([Costs(10, 9)], 256), alone([Costs(10, 9)], 8)
        ([True], [False])
        >>> alone([Costs(depth, 0.8 * depth) for depth in range(1, 54)], 256) == [False] * 53
        True
    """
    if not costs:
        return []
    depths = [0.0, *(cost.whole for cost in costs)]
    best = min(depths, key=lambda depth: _work(costs, depth))
    chosen = [_is_alone(cost, best) for cost in costs]
    saved = _work(costs, max(depths), shared=True) - _work(costs, best)
    planning = sum(
        2 * cost.whole * (PLANNING + WITNESSES) for cost, is_alone in zip(costs, chosen, strict=True) if is_alone
    )
    return chosen if saved * expected > planning else [False] * len(costs)


def _is_alone(cost: Costs, depth: float) -> bool:
    return cost.whole > depth or 2 * cost.cropped < cost.whole


def _work(costs: Sequence[Costs], depth: float, *, shared: bool = False) -> float:
    """Of one sample where the shared pass ends at a depth; with ``shared`` all share that can."""
    return depth + sum(2 * cost.cropped if _is_alone(cost, depth) and not shared else cost.whole for cost in costs)
