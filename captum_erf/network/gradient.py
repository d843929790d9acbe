"""Gradients of units with respect to the inputs, for many layers and units in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from .grids import check_grid, check_sum
from .layers import ForwardFunc, Layer, all_modules
from .layouts import Layout, apply_layout, contiguous
from .passes import layer_outputs
from .units import Reader, Selected, Units

Magnitude = str | Callable[[Tensor], Tensor]

MAGNITUDES: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": lambda gradient: gradient.abs().sum(1),
    "square": lambda gradient: _wide(gradient).square().sum(1),
    "positive": lambda gradient: gradient.clamp_min(0).sum(1),
    "signed": lambda gradient: gradient.sum(1),
}


def _wide(gradient: Tensor) -> Tensor:
    """In double precision, in which no square of a float overflows or vanishes, where the device has it."""
    return gradient if gradient.device.type == "mps" else gradient.double()


@dataclass(frozen=True)
class Network:
    """What runs, and which of its layers are read, and how."""

    forward_func: ForwardFunc
    layers: tuple[Layer, ...]
    layout: Layout = "channels_first"
    device_ids: tuple[int, ...] | None = None
    layer_input: bool = False

    @property
    def modules(self) -> list[Module]:
        """Every module that a forward pass can touch."""
        return all_modules(self.forward_func, self.layers)


@contextmanager
def gradients_enabled() -> Iterator[None]:
    """Gradients are recorded, whatever the caller has switched off around us."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def as_leaves(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Inputs that record gradients without touching the caller's tensors; integers stay as they are."""
    return tuple(_leaf(item) for item in inputs)


def _leaf(item: Any) -> Any:
    item = _normal(item)
    if not isinstance(item, Tensor) or not (item.is_floating_point() or item.is_complex()):
        return item
    return item.detach().requires_grad_()


def _normal(item: Any) -> Any:
    """A tensor that autograd can work with also where it was made under ``torch.inference_mode()``."""
    return item.clone() if isinstance(item, Tensor) and item.is_inference() else item


def unit_gradients(
    network: Network,
    readers: Sequence[Sequence[Reader]],
    inputs: tuple[Any, ...],
    additional_forward_args: tuple[Any, ...] = (),
    *,
    autocast: torch.dtype | None = None,
) -> Iterator[tuple[int, int, tuple[Tensor | None, ...]]]:
    """Yields ``(layer, reader, gradients)`` for every reader of every layer, deepest layer first.

    A layer's part of the graph is let go as soon as its last unit is done. Gradients are None for inputs that
    are not floating point or that the unit does not depend on.
    """
    leaves, additional_forward_args = as_leaves(inputs), tuple(map(_normal, additional_forward_args))
    floating = [isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves]
    sources = [leaf for leaf, has_gradient in zip(leaves, floating, strict=True) if has_gradient]
    if not sources:
        raise TypeError("No input is a floating-point tensor; pass the embedded or normalised inputs as floats.")
    with torch.autocast(sources[0].device.type, dtype=autocast, enabled=autocast is not None):
        outputs = layer_outputs(
            network.forward_func,
            network.layers,
            leaves,
            additional_forward_args,
            layer_input=network.layer_input,
            device_ids=network.device_ids,
        )
    arguments = (*inputs, *additional_forward_args)
    while outputs:
        place, output = outputs.popitem()
        name = network.layers[place].name
        for number, reader in enumerate(readers[place]):
            scalars = _scalars(network, place, reader, output, sources, arguments)
            more = bool(outputs) or number + 1 < len(readers[place])
            found = iter(_gradient(scalars, sources, name, retain_graph=more))
            yield place, number, tuple(next(found) if has_gradient else None for has_gradient in floating)
        del output, scalars


def _scalars(
    network: Network, place: int, reader: Reader, output: Any, sources: list[Tensor], arguments: tuple[Any, ...]
) -> Tensor:
    if isinstance(reader, Selected):
        return reader(contiguous(output))
    layer, layout = network.layers[place], network.layout
    read = apply_layout(layout, output, layer.name)
    image = min(sources, key=lambda source: (source.ndim != read.ndim, source.ndim < 3))
    check_grid(network.forward_func, layer, layout, read, image, arguments)
    if isinstance(reader, Units) and reader.channel is None:
        check_sum(layer, read)
    return reader(read)


def _gradient(scalars: Tensor, sources: list[Tensor], name: str, *, retain_graph: bool) -> tuple[Tensor | None, ...]:
    if not scalars.requires_grad:
        raise RuntimeError(_no_path(name))
    gradients = torch.autograd.grad(scalars.sum(), sources, retain_graph=retain_graph, allow_unused=True)
    if all(gradient is None for gradient in gradients):
        raise RuntimeError(_no_path(name))
    return gradients


def _no_path(name: str) -> str:
    return (
        f"Layer {name!r} has no gradient path to the inputs: it does not depend on them, or something before it "
        "detaches, rounds, quantises or runs under no_grad, as checkpointing with use_reentrant=True does. Choose "
        "another layer or a differentiable model."
    )


def sample_maps(gradient: Tensor, magnitude: Magnitude) -> Tensor:
    """Sample maps ``(N, *size)`` of a gradient ``(N, C_in, *size)``, in single precision or better."""
    gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    maps = magnitude(gradient) if callable(magnitude) else MAGNITUDES[magnitude](gradient)
    wanted = (gradient.shape[0], *gradient.shape[2:])
    if tuple(maps.shape) != wanted:
        raise ValueError(f"The callable magnitude must return sample maps of shape {wanted}, got {tuple(maps.shape)}.")
    return maps


def check_magnitude(magnitude: Magnitude) -> None:
    """Refuses a magnitude of no known name."""
    if not callable(magnitude) and magnitude not in MAGNITUDES:
        raise ValueError(f"magnitude must be one of {', '.join(MAGNITUDES)} or a callable, got {magnitude!r}.")
