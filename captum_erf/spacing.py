"""The length of a step between two input positions, as the user says it: ``0.5mm`` or ``3,0.7,0.7mm``."""

from __future__ import annotations

import re
from dataclasses import dataclass

NUMBER = r"\d*\.?\d+(?:e-?\d+)?"
TEXT = re.compile(rf"({NUMBER}(?:,{NUMBER})*)\s*([a-zA-Zµ°]*)")


@dataclass(frozen=True)
class Spacing:
    """Lengths, one for each axis or one for all, and their unit; without one, a step has the length 1 px."""

    lengths: tuple[float, ...] = (1.0,)
    unit: str = "px"

    @classmethod
    def read(cls, text: str) -> Spacing:
        r"""
        A spacing from its text.

        Raises:
            ValueError: The text holds no positive lengths.

        Examples::

            >>> spacing = Spacing.read("3,0.7,0.7mm")
            >>> spacing.lengths, spacing.unit, str(spacing)
            ((3.0, 0.7, 0.7), 'mm', '3,0.7,0.7mm')
        """
        found = TEXT.fullmatch(text)
        lengths = tuple(map(float, found[1].split(","))) if found else ()
        if found is None or min(lengths) <= 0:
            raise ValueError(f"{text!r} is no length of a pixel with its unit, such as 0.5mm or 3,0.7,0.7mm")
        return cls(lengths, found[2])

    def along(self, num_dims: int) -> tuple[float, ...]:
        """The length on every axis; a ValueError where there are neither one nor as many as axes."""
        if len(self.lengths) not in (1, num_dims):
            raise ValueError(
                f"The spacing {self} has {len(self.lengths)} lengths; expected 1 or {num_dims}, one an axis."
            )
        return self.lengths if len(self.lengths) == num_dims else self.lengths * num_dims

    def __str__(self) -> str:
        return ",".join(f"{length:g}" for length in self.lengths) + self.unit
