"""How numbers are written: lengths, places, theoretical fields, and numbers with their standard errors."""

from collections.abc import Iterable, Sequence
from typing import Protocol

Number = float | Sequence[float] | None


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
    """A box's size as ``99 x 99``, ``at least 99 x 99``, ``about 99 x 99`` or ``global``; short, equal sides once."""
    if all(box.global_axes):
        return "global"
    certainty = "about " if box.is_estimated else "at least " if box.is_clipped else ""
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


def number(value: Number, error: float | Sequence[float | None] | None = None, digits: int = 1) -> str:
    """
    A number, or numbers, with the standard error.

    Examples::

        >>> number(31.02, 0.84), number([5.0, 4.0], [0.1, 0.2]), number(None)
        ('31.0 ± 0.8', '5.0 ± 0.1, 4.0 ± 0.2', 'none')
    """
    if value is None:
        return "none"
    if isinstance(value, Sequence):
        errors = error if isinstance(error, Sequence) else [error] * len(value)
        return ", ".join(number(one, its, digits) for one, its in zip(value, errors, strict=True))
    assert not isinstance(error, Sequence)
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Cells as a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]).rstrip() for first, *others in lines
    )
