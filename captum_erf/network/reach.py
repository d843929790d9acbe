"""Reach: the modules that a forward pass can touch, as far as the forward function shows them.

A module shows those inside it, also in lists, dicts and functions that it keeps; a bound method its object; a
``functools.partial`` its function and arguments; a function what it refers to; any other object what it holds.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor
from torch.jit import ScriptModule
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
    return list(explore(things).modules)


@dataclass
class Reach:
    """
    What things show.

    Attributes:
        modules (dict[Module, None]): In the order in which they were found.
        is_plain (bool): Whether only modules and containers that can be seen to change lead to them.
    """

    modules: dict[Module, None] = field(default_factory=dict)
    is_plain: bool = True
    seen: set[int] = field(default_factory=set)

    def collect(self, thing: Any, depth: int) -> None:
        """Adds what a thing shows."""
        if isinstance(thing, Module):
            if thing not in self.modules:
                self.modules[thing] = None
                self.is_plain &= not isinstance(thing, ScriptModule)
                for child in thing._modules.values():
                    if child is not None:
                        self.collect(child, DEPTH)
                for value in _kept(thing):
                    self.collect(value, DEPTH - 1)
        elif depth > 0 and id(thing) not in self.seen:
            self.seen.add(id(thing))
            self.is_plain &= isinstance(thing, (list, dict, set)) and len(thing) <= LENGTH
            for value in islice(_shown(thing), LENGTH):
                if not isinstance(value, OPAQUE):
                    self.collect(value, depth - 1)


def explore(things: Iterable[Any]) -> Reach:
    """Looks at all that things show."""
    found = Reach()
    for thing in things:
        if not isinstance(thing, OPAQUE):
            found.collect(thing, DEPTH)
    return found


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
