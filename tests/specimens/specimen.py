"""What is measured of a network of the zoo: how it is made, its inputs, and an early and a deep layer of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

ForwardFunc = Callable[..., Any]


def its_forward(model: nn.Module) -> ForwardFunc:
    """The network as it stands."""
    return model


@dataclass(frozen=True)
class Specimen:
    """A network as its users load it, small; ``package`` is what it takes beside torch, by its name on the registry.

    ``shape`` is one sample's, ``layouts`` and ``channels`` hold what a layer needs beside the defaults, by its name.
    ``forward`` makes of the model what runs on a batch of inputs, ``arguments`` its further arguments.
    """

    name: str
    package: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    layers: tuple[str, ...]
    layouts: Mapping[str, Any] = field(default_factory=dict)
    channels: Mapping[str, int] = field(default_factory=dict)
    input_layout: Any = "channels_first"
    forward: Callable[[nn.Module], ForwardFunc] = its_forward
    arguments: tuple[Any, ...] = ()
    call: int | None = None
    dtype: torch.dtype = torch.float64
    extra: str = "zoo"
    is_quick: bool = False

    @property
    def module(self) -> str:
        """The name by which Python imports the package."""
        return IMPORTED_AS.get(self.package, self.package.replace("-", "_"))

    def build(self) -> nn.Module:
        """The network with random weights, or those that its package ships, in evaluation mode."""
        torch.manual_seed(0)
        model = self.make().eval()
        return in_double(model) if self.dtype == torch.float64 else model

    def inputs(self, samples: int = 2) -> Tensor:
        """Inputs of shape ``(N, *shape)``."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(samples, *self.shape, generator=generator, dtype=self.dtype)


IMPORTED_AS = {
    "efficientnet-lite-pytorch": "efficientnet_lite_pytorch",
    "neuraloperator": "neuralop",
    "descript-audio-codec": "dac",
}


def in_double(model: nn.Module) -> nn.Module:
    """The model in double precision; ``Module.double`` would take the imaginary parts of complex weights away."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for tensor in tensors.values():
                if tensor is not None and (tensor.is_floating_point() or tensor.is_complex()):
                    tensor.data = tensor.data.to(torch.promote_types(tensor.dtype, torch.float64))
    return model


def library(name: str) -> Any:
    """A package that only the zoo needs, imported when a network of it is made."""
    return importlib.import_module(name)


def item(place: Any, then: Callable[[Any], Tensor] | None = None) -> Callable[[Any], Tensor]:
    """A layout that takes one part of an output, and reads it by another one."""

    def pick(output: Any) -> Tensor:
        return output[place] if then is None else then(output[place])

    return pick
