"""The recorder: what layers hand over in a pass, and how often they run."""

from __future__ import annotations

import copy
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils._pytree import tree_leaves, tree_map

from .layers import Layer, quantised
from .network import Network


class LayersReached(BaseException):
    """Ends the forward pass; no ``except Exception`` of the network's own may swallow it."""


class LayerLeftOut(RuntimeError):
    """A layer that ran in an earlier forward pass did not run in this one."""


class Recorder:
    """
    Counts the calls of the layers and keeps what those that are asked for hand over, by layer and device.

    It ends the pass with the last of them, unless several devices run it or it is to be seen ``to_the_end``. What it
    keeps are clones, which nothing further on can change in place; of layers of which it is known that nothing does, it
    keeps what they hand over itself, which ``is_disturbed`` tells to have been changed all the same.
    """

    def __init__(self, network: Network, *, to_the_end: bool = False) -> None:
        self.network, self.layers = network, network.layers
        self.stop = not (network.is_parallel or to_the_end)
        self.device_ids = list(network.device_ids or getattr(network.forward_func, "device_ids", None) or [])
        self.outputs: dict[int, dict[torch.device | None, Any]] = {}
        self.originals: dict[int, tuple[Tensor, int]] = {}  # and their versions, by layer
        self.counts: Counter[tuple[int, torch.device | None]] = Counter()
        self.lock = threading.Lock()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Records in the passes inside; the hooks are gone afterwards."""
        with ExitStack() as stack:
            for place, layer in enumerate(self.layers):
                stack.callback(_watch(layer, functools.partial(self.keep, place), self.network))
            yield

    def keep(self, place: int, output: Any) -> None:
        device = _device(output)
        with self.lock:
            self.counts[place, device] += 1
            if self.counts[place, device] != (self.layers[place].call or 0) + 1:
                return
            complete = len(self.outputs.keys() | {place}) == len(self.layers)
            is_last = complete and self.stop
            stays = is_last or self.layers[place].is_steady
            kept = stays and torch.is_grad_enabled()  # else what was written is put back
            self.outputs.setdefault(place, {})[device] = output if kept else tree_map(_clone, output)
            is_watched = kept or not torch.is_grad_enabled()
            if is_watched and isinstance(output, Tensor) and not output.is_inference():
                self.originals[place] = output, output._version
        if complete and self.stop:
            raise LayersReached

    @property
    def calls(self) -> list[int]:
        """How often each layer was called, on one device."""
        return [
            max((count for (counted, _), count in self.counts.items() if counted == place), default=0)
            for place in range(len(self.layers))
        ]

    def forget(self) -> None:
        """Lets go of what layers handed over, whoever still holds this."""
        self.outputs.clear()
        self.originals.clear()

    @property
    def steady(self) -> list[bool]:
        """Of which layers nothing has changed what they handed over."""
        versions = [self.originals.get(place) for place in range(len(self.layers))]
        return [seen is not None and seen[0]._version == seen[1] for seen in versions]

    @property
    def is_disturbed(self) -> bool:
        """Whether something has changed what is kept."""
        return any(layer.is_steady and not steady for layer, steady in zip(self.layers, self.steady, strict=True))

    def found(self) -> dict[int, Any]:
        """What each layer handed over; refuses layers whose call never came."""
        for place, layer in enumerate(self.layers):
            if place not in self.outputs:
                raise (
                    left_out(layer) if layer.call is not None else no_such_call(self.network, layer, self.calls[place])
                )
            if any(map(_is_batched, tree_leaves(list(self.outputs[place].values())))):
                raise TypeError(
                    f"Layer {layer.name!r} runs under torch.func.vmap, which hides the samples from it; pass the model "
                    "itself as forward_func, and whole batches."
                )
            if any(isinstance(item, Tensor) and item.is_quantized for item in self.outputs[place].values()):
                raise quantised(layer.name)
        return {place: _join(outputs, self.device_ids) for place, outputs in self.outputs.items()}


def _watch(layer: Layer, keep: Callable[[Any], None], network: Network) -> Callable[[], None]:
    """
    Calls ``keep`` with all that the layer hands over, or is given, until what is returned is called.

    Copies of the layer, as of a network that runs a copy of itself, only count where several devices run them.
    """

    def is_meant(module: Module) -> bool:
        return module is layer.module or network.is_parallel

    def before(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = (*args, *kwargs.values())
        if is_meant(module):
            keep(given[0] if len(given) == 1 else given)

    def after(module: Module, _args: tuple[Any, ...], output: Any) -> None:
        if is_meant(module):
            keep(output)

    if network.layer_input:
        return layer.module.register_forward_pre_hook(before, with_kwargs=True).remove
    return layer.module.register_forward_hook(after).remove


def left_out(layer: Layer) -> Exception:
    """The error for a layer, known to run, whose call did not come."""
    return LayerLeftOut(
        f"Layer {layer.name!r} ran in an earlier forward pass, but not in this one: the network leaves layers out at "
        "random, as stochastic depth that eval() does not switch off, or takes a branch that depends on the data. "
        "Switch that off, or choose a layer that always runs."
    )


def no_such_call(network: Network, layer: Layer, count: int) -> Exception:
    """The error for a layer that is called less often than is asked for, ``count`` times."""
    if count:
        return ValueError(
            f"Layer {layer.name!r} has no call={layer.call}: it is called {count} time(s) in one forward pass."
        )
    return RuntimeError(
        f"The forward pass never ran layer {layer.name!r}; choose one that this network and these inputs use, such as "
        f"the module around it.{network.way_inside} Where layers are left out at random, as in stochastic depth that "
        "eval() does not switch off, or by a branch that depends on the data, another pass may run it."
    )


def _clone(item: Any) -> Any:
    """A copy of a tensor, also of those that an object of the network's own kind holds."""
    if isinstance(item, Tensor):
        return item.clone()
    attributes = {} if isinstance(item, Module) else getattr(item, "__dict__", {})
    held = {name: value for name, value in attributes.items() if any(map(_is_tensor, tree_leaves(value)))}
    if not held:
        return item
    twin = copy.copy(item)
    vars(twin).update({name: tree_map(_clone, value) for name, value in held.items()})
    return twin


def _is_batched(item: Any) -> bool:
    return isinstance(item, Tensor) and torch._C._functorch.is_batchedtensor(item)


def _is_tensor(item: Any) -> bool:
    return isinstance(item, Tensor)


def _device(output: Any) -> torch.device | None:
    first = output
    while isinstance(first, (tuple, list)) and first:
        first = first[0]
    return first.device if isinstance(first, Tensor) else None


def _join(outputs: dict[torch.device | None, Any], device_ids: list[int]) -> Any:
    parts = list(outputs.items())
    if len(parts) == 1:
        return parts[0][1]
    parts.sort(key=lambda part: device_ids.index(part[0].index) if part[0] is not None else 0)
    first = parts[0][0]
    return tree_map(lambda *items: torch.cat([item.to(first) for item in items]), *(part for _, part in parts))
