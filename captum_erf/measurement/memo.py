"""A memory for what setting up has found out, which is paid once for each object, input size and state."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")
LENGTH = 64


class Memo:
    """The last results, by what they depend on."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}

    def recall(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made for the key before, or is made now."""
        if key not in self._found:
            made = make()
            while len(self._found) >= LENGTH:
                del self._found[next(iter(self._found))]
            self._found[key] = made
        found: T = self._found[key]
        return found
