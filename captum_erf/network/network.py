"""The network: what runs, which of its layers are read, and how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import FunctionType, MethodType, NoneType
from typing import Any

import torch
from torch import nn
from torch.nn import Module
from torch.nn.parallel import DataParallel

from .layers import ForwardFunc, Layer, find_layers, unwrap
from .layouts import Layout, as_layout
from .reach import OWN, Reach, explore
from .rearrangements import InputLayout

PLAIN = (int, float, str, NoneType)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Network:
    """
    A forward function with the layers of it that are read, their layout, and that of the input.

    ``alone_as_two`` says that a batch of one is to run as two copies for its gradient: torch's backward of instance
    norm on the CPU is wrong for a single sample with a gradient in channels-last.

    Examples::

        >>> from torch import nn
        >>> network = Network.of(nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU()), ["0", "1"])
        >>> [layer.name for layer in network.layers], len(network.modules)
        (['0', '1'], 3)
        >>> network.only([1]).layers[0].module
        ReLU()
    """

    forward_func: ForwardFunc
    layers: tuple[Layer, ...]
    layout: Layout = "channels_first"
    device_ids: tuple[int, ...] | None = None
    layer_input: bool = False
    input_layout: InputLayout = field(default_factory=InputLayout)
    alone_as_two: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layout", as_layout(self.layout))

    @classmethod
    def of(
        cls, forward_func: ForwardFunc, layers: Sequence[Module | str], *, call: int | None = None, **reading: Any
    ) -> Network:
        """The network with layers given as modules or names."""
        return cls(forward_func, tuple(find_layers(forward_func, layers, call)), **reading)

    def only(self, places: Sequence[int]) -> Network:
        """The same network, of which only the layers at these places are read."""
        return replace(self, layers=tuple(self.layers[place] for place in places))

    def steadied(self, steady: Sequence[bool]) -> Network:
        """The same network, with what is known of each layer: whether nothing changes what it hands over."""
        pairs = zip(self.layers, steady, strict=True)
        return replace(self, layers=tuple(replace(layer, is_steady=is_steady) for layer, is_steady in pairs))

    @property
    def modules(self) -> list[Module]:
        """Every module that a forward pass can touch, as far as the forward function shows them."""
        return list(self.reach.modules)

    @property
    def reach(self) -> Reach:
        """What the forward function and the layers show."""
        return explore([self.forward_func, *(layer.module for layer in self.layers)])

    @property
    def device(self) -> torch.device | None:
        """The device of the first parameter or buffer, None where there is none."""
        own = self.forward_func.modules() if isinstance(self.forward_func, Module) else ()
        return _device(own) or _device(self.modules)

    @property
    def way_inside(self) -> str:
        """What to pass instead of a wrapper around the network of the layers; nothing where there is none."""
        inner = getattr(self.forward_func, "model", None)
        held = set(inner.modules()) if isinstance(self.forward_func, Module) and isinstance(inner, Module) else set()
        if held.isdisjoint(layer.module for layer in self.layers):
            return ""
        return (
            f" {type(self.forward_func).__name__} is a wrapper, which may run a copy of the network that it holds, or "
            "none: pass wrapper.model, and layers by their names in it."
        )

    @property
    def is_parallel(self) -> bool:
        """Whether several devices run it, each with a part of the batch."""
        return self.device_ids is not None or isinstance(unwrap(self.forward_func), DataParallel)

    def settings(self) -> tuple[Any, ...]:
        """What differs after a module or one of its settings has been changed, functions put in its place included."""
        return tuple((id(module), type(module), module.training, *_settings(module)) for module in self.modules)

    def weights(self) -> tuple[Any, ...]:
        """What differs after the weights have been changed."""
        tensors = [tensor for module in self.modules for tensor in _tensors(module)]
        return tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)

    def mixes_samples(self) -> list[str]:
        """Names of the kinds of normalisation that would mix the samples of a batch as they stand."""
        norms = [module for module in self.modules if isinstance(module, BATCH_NORMS)]
        return sorted({type(norm).__name__ for norm in norms if norm.training or norm.running_mean is None})


def _device(modules: Iterable[Module]) -> torch.device | None:
    return next((tensor.device for module in modules for tensor in _tensors(module)), None)


def _tensors(module: Module) -> list[torch.Tensor]:
    held = (*module._parameters.values(), *module._buffers.values())
    return [tensor for tensor in held if tensor is not None]


def _settings(module: Module) -> Iterator[tuple[str, Any]]:
    """What is plain among a module's attributes, and which functions stand there."""
    for name, value in vars(module).items():
        if name in OWN:
            continue
        if isinstance(value, (FunctionType, MethodType)):
            yield name, id(value)
        elif all(isinstance(part, PLAIN) for part in (value if isinstance(value, tuple) else (value,))):
            yield name, value
