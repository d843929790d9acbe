"""State: all that modules hold, remembered and put back.

What they hold by reference is compared by identity, tensors by value: versions do not tell of what is written through
``.data``, as quantisation observers do.
"""

from __future__ import annotations

import copy
import operator
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.utils.weak import WeakTensorKeyDictionary

TABLES = ("_modules", "_parameters", "_buffers")  # what a module is built of, beside its hooks
NOTHING: dict[Any, Any] = {}  # what an empty container holds
DEPTH = 3  # of containers within each other
LENGTH = 1000  # of a container in which others are looked for

_written: Any = WeakTensorKeyDictionary()  # weights that a pass was seen to change


class Structure:
    """
    The attributes of modules, and what stands in the dicts, lists and sets among them: children and hooks as well; and
    which of their weights need a gradient.

    Examples::

        >>> module = Module()
        >>> module.seen = []
        >>> structure = Structure([module])
        >>> module.seen.append(1)
        >>> module.mask = 2
        >>> structure.restore()
        >>> module.seen, hasattr(module, "mask")
        ([], False)
    """

    def __init__(self, modules: Sequence[Module]) -> None:
        # A scripted module keeps its attributes elsewhere.
        self._holders = [vars(module) for module in modules if not isinstance(module, torch.jit.ScriptModule)]
        self._needs = [(weight, weight.requires_grad) for weight in parameters(modules)]
        self._kept: list[tuple[Any, Any]] = []
        self._empty: list[Any] = []
        seen: set[int] = set()
        for holder in self._holders:
            self._keep(holder, DEPTH, seen)

    def _keep(self, held: Any, depth: int, seen: set[int]) -> None:
        if id(held) in seen:
            return
        seen.add(id(held))
        self._kept.append((held, copy.copy(held)))
        if depth and len(held) <= LENGTH:
            for item in held.values() if isinstance(held, dict) else held:
                if not isinstance(item, (dict, list, set, deque)):
                    continue
                if item:
                    self._keep(item, depth - 1, seen)
                else:
                    self._empty.append(item)

    def has_grown(self) -> bool:
        """Whether modules have been given other children, weights, buffers or hooks than they had."""
        before = {id(held): kept for held, kept in self._kept}
        tables = (table for holder in self._holders for name, table in holder.items() if _is_table(name, table))
        return any(len(table) != len(before.get(id(table), NOTHING)) for table in tables)

    def restore(self) -> None:
        """Puts everything back in its place."""
        for held, kept in self._kept:
            if not _same_items(held, kept):
                _refill(held, kept)
        for weight, needed in self._needs:
            if weight.requires_grad != needed:
                weight.requires_grad_(needed)
        for held in filter(None, self._empty):
            held.clear()


def _is_table(name: str, held: Any) -> bool:
    return name in TABLES or (name.endswith("hooks") and isinstance(held, dict))


def _same_items(held: Any, kept: Any) -> bool:
    if len(held) != len(kept):
        return False
    in_order = all(map(operator.is_, held, kept))
    return in_order and (not isinstance(held, dict) or all(map(operator.is_, held.values(), kept.values())))


def _refill(held: Any, kept: Any) -> None:
    if isinstance(held, dict):
        for name in held.keys() - kept.keys():
            del held[name]
        held.update(kept)
    if not _same_items(held, kept):
        held.clear()
        (held.update if isinstance(held, (dict, set)) else held.extend)(kept)


class Values:
    """
    Tensors by value; those that were written to are put back without a new version.

    Examples::

        >>> buffer = torch.zeros(2)
        >>> values = Values([buffer])
        >>> buffer.data.add_(1)
        tensor([1., 1.])
        >>> values.restore()
        >>> buffer
        tensor([0., 0.])
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._kept = [(tensor, tensor.detach().clone()) for tensor in tensors if _has_values(tensor)]

    def restore(self) -> None:
        """Puts the values back, and remembers which tensors had others."""
        for tensor, value in self._kept:
            if tensor.shape != value.shape:
                tensor.data = value
            elif not _same_values(tensor.detach(), value):
                tensor.data.copy_(value)
            else:
                continue
            _written[tensor] = None


def parameters(modules: Iterable[Module]) -> Iterator[Tensor]:
    """The weights of modules, each where it is held."""
    return _tensors(chain.from_iterable(module._parameters.values() for module in modules))


def all_tensors(modules: Iterable[Module]) -> Iterator[Tensor]:
    """The weights, buffers and plain tensors of modules."""
    for module in modules:
        yield from _tensors(chain(module._parameters.values(), _others(module)))


def restless_tensors(modules: Iterable[Module]) -> Iterator[Tensor]:
    """Those that passes are likely to write to: buffers, plain tensors, and weights that a pass has changed before."""
    for module in modules:
        if _written:
            yield from (weight for weight in parameters([module]) if weight in _written)
        if not _only_reads(module):
            yield from _tensors(_others(module))


def _others(module: Module) -> Iterator[Any]:
    attributes = () if isinstance(module, torch.jit.ScriptModule) else tuple(vars(module).values())
    return chain(module._buffers.values(), attributes)


def _only_reads(module: Module) -> bool:
    """Batch norm in evaluation mode."""
    return isinstance(module, _BatchNorm) and type(module).forward is _BatchNorm.forward and not module.training


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    return (value for value in values if isinstance(value, Tensor))


def _has_values(tensor: Tensor) -> bool:
    """Whether there are values that can be compared and written."""
    return not (is_lazy(tensor) or tensor.is_meta or tensor.is_inference()) and tensor.layout == torch.strided


def _same_values(tensor: Tensor, value: Tensor) -> bool:
    if torch.equal(tensor, value):
        return True
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return False
    return bool(((tensor == value) | (tensor.isnan() & value.isnan())).all())
