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

    def __reduce__(self) -> tuple[type[Memo], tuple[()]]:
        """A copy has found out nothing yet: it may be of another network."""
        return Memo, ()

    def recall(self, key: Hashable, make: Callable[[], T], holds: Callable[[T], bool] = lambda found: True) -> T:
        """What was made for the key before, where it still holds, or is made now."""
        if key not in self._found or not holds(self._found[key]):
            made = make()
            self._found.pop(key, None)
            while len(self._found) >= LENGTH:
                del self._found[next(iter(self._found))]
            self._found[key] = made
        found: T = self._found[key]
        return found
