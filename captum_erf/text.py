"""How numbers are written: lengths, places, theoretical fields, and numbers with their standard errors."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

EXACT = 1e-6  # share of a number below which its standard error is rounding


class Box(Protocol):
    """What is written of a theoretical receptive field."""

    @property
    def size(self) -> tuple[int, ...]: ...
    @property
    def global_axes(self) -> tuple[bool, ...]: ...
    @property
    def is_clipped(self) -> bool: ...
    @property
    def is_estimated(self) -> bool: ...
    @property
    def is_bound(self) -> bool: ...


def times(lengths: Iterable[float | str]) -> str:
    """Lengths as ``224 x 224``."""
    return " x ".join(length if isinstance(length, str) else f"{length:g}" for length in lengths)


def merged(lengths: Sequence[float | str]) -> str:
    """Lengths as ``224 x 112``; equal ones as ``224``."""
    return times(lengths if len(set(lengths)) > 1 else lengths[:1])


def sides(box: Box) -> list[int | str]:
    """Sides of a box; ``global`` on an axis of which every position is in it."""
    return ["global" if all_of_it else side for side, all_of_it in zip(box.size, box.global_axes, strict=True)]


def box_size(box: Box, *, short: bool = False) -> str:
    """A box's size as ``99 x 99``, ``at least``, ``at most``, ``about`` it, or ``global``; short, equal sides once."""
    if all(box.global_axes):
        return "global"
    kinds = {"about ": box.is_estimated, "at least ": box.is_clipped, "at most ": box.is_bound}
    certainty = next((words for words, holds in kinds.items() if holds), "")
    return certainty + (merged if short else times)(sides(box))


def listed(numbers: Iterable[float]) -> str:
    """Numbers to four digits, with commas."""
    return ", ".join(f"{number:.4g}" for number in numbers)


def place(position: Iterable[float], form: str = "g") -> str:
    """A position as ``(111.5, 112)``."""
    return f"({', '.join(f'{number:{form}}' for number in position)})"


def line(label: str, value: str, width: int = 18) -> str:
    """A line of a report."""
    return f"  {label:<{width}} {value}"


def number(value: Any, error: Any = None, digits: int = 1) -> str:
    """
    A number, or numbers, with the standard error to two digits; without one, with ``digits`` behind the point.

    Args:
        value (float, list or None): The number; a list within a list holds the two ends of an interval.
        error (float, list or None): Its standard error; of an interval, that of its length.
        digits (int): Digits behind the point where no error says how many there are.

    Examples::

        >>> number(5.0578, 0.0231), number(2418.8, 366.0), number(7.0, 0.0), number(31.02), number(-0.01), number(None)
        ('5.058 ± 0.023', '2420 ± 370', '7.0 ± 0', '31.0', '0.0', 'none')
        >>> number([5.0, 4.0], [0.12, 0.2]), number([[-3.0, 4.25]], [0.12])
        ('5.00 ± 0.12, 4.00 ± 0.20', '-3.0 to 4.2 (7.25 ± 0.12)')
    """
    if value is None:
        return "none"
    if isinstance(value, Sequence):
        errors = [None] * len(value) if error is None else error
        write = interval if isinstance(value[0], Sequence) else number
        return ", ".join(write(one, its, digits) for one, its in zip(value, errors, strict=True))
    if error is None:
        return f"{value:z.{digits}f}"
    if error <= EXACT * abs(value):
        return f"{value:z.{digits}f} ± 0"
    places = 1 - int(f"{error:.1e}".partition("e")[2])
    return " ± ".join(f"{round(one, places):z.{max(places, 0)}f}" for one in (value, error))


def counted(number: int, thing: str) -> str:
    """A number of things: ``1 crop``, ``2 crops``."""
    return f"{number} {thing}{'s' * (number != 1)}"


def interval(ends: Sequence[float], error: float | None = None, digits: int = 1) -> str:
    """The ends of an interval, and its length with the standard error."""
    lower, upper = ends
    words = f"{lower:z.{digits}f} to {upper:z.{digits}f}"
    return words if error is None else f"{words} ({number(upper - lower, error)})"


def columns(lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """Cells as a table: the first columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([*map(str.ljust, cells[:left], widths), *map(str.rjust, cells[left:], widths[left:])]).rstrip()
        for cells in lines
    )
