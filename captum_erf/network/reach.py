"""Reach: the modules that a forward pass can touch, as far as the forward function shows them.

A module shows those inside it, also in lists, dicts and functions that it keeps; a bound method its object; a
``functools.partial`` its function and arguments; a function what it refers to; any other object what it holds.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor
from torch.nn import Module

DEPTH = 4  # of containers, functions and objects within each other
LENGTH = 1000  # entries of a container that are looked at
OPAQUE = (str, bytes, int, float, complex, Tensor, type, ModuleType, type(None))
PLAIN = frozenset({str, int, float, bool, type(None)})
CONTAINERS = (list, tuple, set, frozenset, dict)
KEPT = (*CONTAINERS, FunctionType, MethodType, functools.partial)
OWN = frozenset(vars(Module()))  # what every module holds


def reachable(things: Iterable[Any]) -> list[Module]:
    """Every module that the things show, each once."""
    found: dict[Module, None] = {}
    seen: set[int] = set()
    for thing in things:
        if not isinstance(thing, OPAQUE):
            _collect(thing, found, seen, DEPTH)
    return list(found)


def _collect(thing: Any, found: dict[Module, None], seen: set[int], depth: int) -> None:
    if isinstance(thing, Module):
        if thing not in found:
            found[thing] = None
            for child in thing._modules.values():
                if child is not None:
                    _collect(child, found, seen, DEPTH)
            for value in _kept(thing):
                _collect(value, found, seen, DEPTH - 1)
    elif depth > 0 and id(thing) not in seen:
        seen.add(id(thing))
        for value in islice(_shown(thing), LENGTH):
            if not isinstance(value, OPAQUE):
                _collect(value, found, seen, depth - 1)


def _kept(module: Module) -> list[Any]:
    """What a module keeps beside its children and could run; its objects may lead anywhere."""
    kept = [value for name, value in vars(module).items() if name not in OWN and isinstance(value, KEPT)]
    return [value for value in kept if not (isinstance(value, (tuple, list)) and PLAIN.issuperset(map(type, value)))]


def _shown(thing: Any) -> Iterable[Any]:
    if isinstance(thing, dict):
        return thing.values()
    if isinstance(thing, CONTAINERS):
        return thing
    if isinstance(thing, functools.partial):
        return (thing.func, *thing.args, *thing.keywords.values())
    if isinstance(thing, MethodType):
        return (thing.__self__,)
    if isinstance(thing, FunctionType):
        return _variables(thing)
    slots = [getattr(thing, name, None) for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return (*getattr(thing, "__dict__", {}).values(), *slots)


def _variables(function: FunctionType) -> list[Any]:
    """What a function refers to outside itself."""
    try:
        names = inspect.getclosurevars(function)
    except ValueError:  # a variable that is not set yet
        return []
    return [*names.nonlocals.values(), *names.globals.values()]
