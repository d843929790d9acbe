"""State: all that modules hold, remembered and put back.

What they hold by reference is compared by identity, tensors by value: versions do not tell of what is written through
``.data``, as quantisation observers do.
"""

from __future__ import annotations

import copy
import operator
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.utils.weak import WeakTensorKeyDictionary

TABLES = ("_modules", "_parameters", "_buffers")  # what a module is built of, beside its hooks
CONTAINERS = (dict, list, set, deque)
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
        self.modules = list(modules)
        # A scripted module keeps its attributes elsewhere.
        self._holders = [vars(module) for module in modules if not isinstance(module, torch.jit.ScriptModule)]
        self._weights = list(parameters(modules))
        held: list[Any] = []
        empty: list[Any] = []
        level: list[Any] = self._holders
        seen = set(map(id, level))
        for _ in range(DEPTH + 1):
            held += level
            containers = [item for item in chain.from_iterable(map(_inside, level)) if isinstance(item, CONTAINERS)]
            empty += [found for found in containers if not found]
            level = list({id(found): found for found in containers if found and id(found) not in seen}.values())
            seen.update(map(id, level))
        self._remember(held, empty)

    def _remember(self, held: list[Any], empty: list[Any]) -> None:
        """Lists what stands in the containers, flat, as they are many."""
        self._held, self._empty = held, empty
        self._dicts = [found for found in held if isinstance(found, dict)]
        self._needs = [weight.requires_grad for weight in self._weights]
        self._lengths, self._keys, self._items = list(map(len, held)), self._all_keys(), list(self._all_items())

    def _all_keys(self) -> list[Any]:
        return list(chain.from_iterable(self._dicts))

    def _all_items(self) -> Iterator[Any]:
        """The values of dicts, then what other containers hold."""
        values = map(operator.methodcaller("values"), self._dicts)
        others = (held for held in self._held if not isinstance(held, dict))
        return chain(chain.from_iterable(values), chain.from_iterable(others))

    def again(self) -> Structure:
        """What the same containers hold by now, those that were empty included."""
        twin = copy.copy(self)
        vars(twin).pop("restless", None)
        filled = list(filter(None, self._empty))
        twin._remember(self._held + filled, [held for held in self._empty if not held] if filled else self._empty)
        return twin

    @property
    def holds(self) -> bool:
        """Whether everything is in its place."""
        return (
            self._has_same_items
            and not any(self._empty)
            and [weight.requires_grad for weight in self._weights] == self._needs
        )

    @property
    def _has_same_items(self) -> bool:
        return (
            list(map(len, self._held)) == self._lengths
            and self._all_keys() == self._keys
            and all(map(operator.is_, self._all_items(), self._items))
        )

    @cached_property
    def restless(self) -> list[Tensor]:
        """Buffers and plain tensors that a pass is likely to write to."""
        return [tensor for module in self.modules if not _only_reads(module) for tensor in _tensors(_others(module))]

    def has_grown(self) -> bool:
        """Whether modules have been given other children, weights, buffers or hooks than they had."""
        before = dict(zip(map(id, self._held), self._lengths, strict=True))
        tables = (table for holder in self._holders for name, table in holder.items() if _is_table(name, table))
        return any(len(table) != before.get(id(table), 0) for table in tables)

    def restore(self) -> None:
        """Puts everything back in its place."""
        if not self._has_same_items:
            keys, items = iter(self._keys), iter(self._items)
            ordered = sorted(
                zip(self._held, self._lengths, strict=True), key=lambda pair: not isinstance(pair[0], dict)
            )
            for held, length in ordered:
                contents = list(islice(items, length))
                kept = dict(zip(islice(keys, length), contents, strict=True)) if isinstance(held, dict) else contents
                if not _same_items(held, kept):
                    _refill(held, kept)
        for weight, needed in zip(self._weights, self._needs, strict=True):
            if weight.requires_grad != needed:
                weight.requires_grad_(needed)
        for held in filter(None, self._empty):
            held.clear()


def _inside(held: Any) -> Iterable[Any]:
    """What a container holds; nothing of one too long to be looked through."""
    if len(held) > LENGTH:
        return ()
    return held.values() if isinstance(held, dict) else held


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
        alike: dict[Any, list[Tensor]] = {}
        for tensor in filter(_has_values, tensors):
            alike.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        self._kept = [pair for group in alike.values() for pair in zip(group, _copies(group), strict=True)]

    def restore(self) -> None:
        """Puts the values back, and remembers which tensors had others."""
        for tensor, value in self._kept:
            if tensor.shape != value.shape:
                tensor.data = value.clone()
            elif not _same_values(tensor.detach(), value):
                tensor.data.copy_(value)
            else:
                continue
            _written[tensor] = None


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of tensors in one piece of memory, which the process gives back when they go."""
    if tensors[0].is_quantized:
        return [tensor.detach().clone() for tensor in tensors]
    together = torch.cat([tensor.detach().flatten() for tensor in tensors])
    parts = torch.split(together, [tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def parameters(modules: Iterable[Module]) -> Iterator[Tensor]:
    """The weights of modules, each where it is held."""
    return _tensors(chain.from_iterable(module._parameters.values() for module in modules))


def all_tensors(modules: Iterable[Module]) -> Iterator[Tensor]:
    """The weights, buffers and plain tensors of modules."""
    for module in modules:
        yield from _tensors(chain(module._parameters.values(), _others(module)))


def changed_weights(modules: Iterable[Module]) -> list[Tensor]:
    """Weights that a pass has changed before."""
    return [weight for weight in parameters(modules) if weight in _written] if _written else []


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
    """Whether all bits are the same, those of NaN included."""
    if tensor.is_quantized:
        return torch.equal(tensor, value)
    return torch.equal(*(_as_whole_numbers(item.resolve_conj()) for item in (tensor, value)))


def _as_whole_numbers(tensor: Tensor) -> Tensor:
    """The bits of a tensor, as few numbers."""
    flat = tensor.flatten()
    is_even = flat.numel() * flat.element_size() % 8 == 0 and flat.storage_offset() * flat.element_size() % 8 == 0
    return flat.view(torch.int64 if is_even else torch.uint8)
