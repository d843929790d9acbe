"""How often a network may call a layer in one forward pass, as far as its code shows.

A layer that is used several times (one ReLU for a whole block, an encoder shared by two inputs) has several units of
the same index. Most layers are used once, and the code around them proves it, so that nothing has to be run.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType

from torch.nn import Module, Sequential

INDIRECT = {"forward", "getattr", "_modules", "children", "modules", "named_children", "named_modules", "get_submodule"}


def scope_of_calls(root: Module, layer: Module) -> Module:
    """The innermost module of which one forward pass holds all calls of the layer that a pass of ``root`` makes.

    It is the layer itself where the code proves a single call.
    """
    paths = [name for name, module in root.named_modules(remove_duplicate=False) if module is layer]
    if len(paths) != 1:
        return root
    scope = module = root
    for name in filter(None, paths[0].split(".")):
        if not _uses_once(module, name):
            return scope
        module = module.get_submodule(name)
        if type(module).forward is not Module.forward:
            scope = module
    return layer


def _uses_once(module: Module, child: str) -> bool:
    """Whether the code of a module's class shows that a forward pass uses a child once at most."""
    if type(module).forward is Sequential.forward:
        return True
    if "forward" in vars(module):
        return False
    functions = [function for kind in type(module).__mro__ if kind is not Module for function in _functions(kind)]
    mentions = [(function, *mention) for function in functions for mention in _mentions(function.__code__)]
    if any(mentioned in INDIRECT for _, mentioned, _ in mentions):
        return False
    name, seen = child, {child}
    while name != "forward":
        users = [(function, is_called) for function, mentioned, is_called in mentions if mentioned == name]
        if len(users) != 1:
            return False
        user, is_called = users[0]
        if not is_called or _repeats(user.__code__) or user.__name__ in seen:
            return False
        name = user.__name__
        seen.add(name)
    return True


def _functions(kind: type) -> Iterator[FunctionType]:
    for name, value in vars(kind).items():
        accessor = value.fget if isinstance(value, property) else value
        if isinstance(accessor, FunctionType) and name != "__init__":
            function = inspect.unwrap(accessor)
            if isinstance(function, FunctionType):
                yield function


def _mentions(code: CodeType) -> Iterator[tuple[str, bool]]:
    """Names that a function reads, functions inside it included, and whether it calls them then and there."""
    for instruction in dis.get_instructions(code):
        if isinstance(instruction.argval, CodeType):
            yield from _mentions(instruction.argval)
        elif instruction.opname == "LOAD_METHOD":
            yield str(instruction.argval), True
        elif instruction.opname in ("LOAD_ATTR", "LOAD_SUPER_ATTR"):
            yield str(instruction.argval), sys.version_info >= (3, 12) and bool((instruction.arg or 0) & 1)
        elif instruction.opname == "LOAD_GLOBAL":
            yield str(instruction.argval), False


def _repeats(code: CodeType) -> bool:
    """Whether a function holds a loop, or a function of its own, which may run several times."""
    return any(
        "BACKWARD" in instruction.opname or isinstance(instruction.argval, CodeType)
        for instruction in dis.get_instructions(code)
    )
