"""Names: what recipes call functions and settings, the same wherever in the package these stand."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from types import CodeType, LambdaType
from typing import Any, TypeVar

import numpy as np
import torch

F = TypeVar("F", bound=Callable[..., Any])


def named(name: str) -> Callable[[F], F]:
    """Gives a function of ours the name by which recipes call it, which no move of its code changes."""

    def name_it(function: F) -> F:
        function.recipe_name = name  # type: ignore[attr-defined]
        return function

    return name_it


def plain(value: Any) -> Any:
    """The value as JSON would give it back; functions by their names."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, (slice, torch.dtype)):
        return str(value)
    return name_of(value)


def name_of(thing: Any) -> str:
    """A function's or class's qualified name, an object's repr where it is short, else its class.

    A lambda's name ends in a digest of its code; what it takes from outside does not enter.
    """
    if hasattr(thing, "recipe_name"):
        return str(thing.recipe_name)
    if hasattr(thing, "__qualname__"):
        name = f"{thing.__module__}.{thing.__qualname__}"
        is_lambda = isinstance(thing, LambdaType) and name.endswith("<lambda>")
        return f"{name} {_digest(thing.__code__)}" if is_lambda else name
    if isinstance(thing, torch.nn.Module) or len(repr(thing)) > 80 or " at 0x" in repr(thing):
        return f"{type(thing).__module__}.{type(thing).__qualname__}"
    return repr(thing)


def _digest(code: CodeType) -> str:
    constants = [item for item in code.co_consts if isinstance(item, (int, float, str, tuple))]
    return blake2b(code.co_code + repr((code.co_names, constants)).encode(), digest_size=4).hexdigest()
