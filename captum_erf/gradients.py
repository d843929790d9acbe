"""Gradients of units with respect to the inputs, for many layers and units in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .layers import ForwardFunc, Layer, layer_outputs
from .layouts import Layout, apply_layout, check_layout
from .units import Reader, Selected

Magnitude = str | Callable[[Tensor], Tensor]

MAGNITUDES: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": lambda gradient: gradient.abs().sum(1),
    "square": lambda gradient: gradient.square().sum(1),
    "positive": lambda gradient: gradient.clamp_min(0).sum(1),
    "signed": lambda gradient: gradient.sum(1),
}


@dataclass(frozen=True)
class Network:
    """What runs, and which of its layers are read, and how."""

    forward_func: ForwardFunc
    layers: tuple[Layer, ...]
    layout: Layout = "channels_first"
    device_ids: tuple[int, ...] | None = None
    layer_input: bool = False


@contextmanager
def gradients_enabled() -> Iterator[None]:
    """Gradients are recorded, whatever the caller has switched off around us."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def as_leaves(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Inputs that record gradients without touching the caller's tensors; integers stay as they are."""
    return tuple(_leaf(item) for item in inputs)


def _leaf(item: Any) -> Any:
    if not isinstance(item, Tensor) or not (item.is_floating_point() or item.is_complex()):
        return item
    return (item.clone() if item.is_inference() else item.detach()).requires_grad_()


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
    leaves = as_leaves(inputs)
    floating = [isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves]
    sources = [leaf for leaf, has_gradient in zip(leaves, floating, strict=True) if has_gradient]
    if not sources:
        raise TypeError(
            "No input is a floating-point tensor; pass the embedded or normalised inputs as floats."
        )
    given = tuple(_copy(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves)
    with torch.autocast(sources[0].device.type, dtype=autocast, enabled=autocast is not None):
        outputs = layer_outputs(
            network.forward_func,
            network.layers,
            given,
            additional_forward_args,
            layer_input=network.layer_input,
            device_ids=network.device_ids,
        )
    while outputs:
        place, output = outputs.popitem()
        name = network.layers[place].name
        for number, reader in enumerate(readers[place]):
            scalars = _scalars(network, reader, output, name, sources[0])
            more = bool(outputs) or number + 1 < len(readers[place])
            found = iter(_gradient(scalars, sources, name, retain_graph=more))
            yield place, number, tuple(next(found) if has_gradient else None for has_gradient in floating)
        del output, scalars


def _copy(leaf: Tensor) -> Tensor:
    """What the network gets and may change in place; images channels-last, in which convolutions run faster."""
    return leaf.clone(memory_format=torch.channels_last if leaf.ndim == 4 else torch.preserve_format)


def _scalars(network: Network, reader: Reader, output: Any, name: str, source: Tensor) -> Tensor:
    if isinstance(reader, Selected):
        return reader(output)
    read = apply_layout(network.layout, output, name)
    check_layout(network.layout, read.shape, source.shape[2:], name)
    return reader(read)


def _gradient(
    scalars: Tensor, sources: list[Tensor], name: str, *, retain_graph: bool
) -> tuple[Tensor | None, ...]:
    if not scalars.requires_grad:
        raise RuntimeError(_no_path(name))
    gradients = torch.autograd.grad(scalars.sum(), sources, retain_graph=retain_graph, allow_unused=True)
    if all(gradient is None for gradient in gradients):
        raise RuntimeError(_no_path(name))
    return gradients


def _no_path(name: str) -> str:
    return (
        f"Layer {name!r} has no gradient path to the inputs: it does not depend on them, or something before it "
        "detaches, rounds, quantises or runs under no_grad. Choose another layer or a differentiable model."
    )


def sample_maps(gradient: Tensor, magnitude: Magnitude) -> Tensor:
    """Sample maps ``(N, *size)`` of a gradient ``(N, C_in, *size)``."""
    maps = magnitude(gradient) if callable(magnitude) else MAGNITUDES[magnitude](gradient)
    wanted = (gradient.shape[0], *gradient.shape[2:])
    if tuple(maps.shape) != wanted:
        raise ValueError(
            f"The callable magnitude must return sample maps of shape {wanted}, got {tuple(maps.shape)}."
        )
    return maps


def check_magnitude(magnitude: Magnitude) -> None:
    """Refuses a magnitude of no known name."""
    if not callable(magnitude) and magnitude not in MAGNITUDES:
        raise ValueError(
            f"magnitude must be one of {', '.join(MAGNITUDES)} or a callable, got {magnitude!r}."
        )
