"""Gradients of units with respect to the inputs, for many layers and units in one forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .batch import Batch
from .layouts import apply_layout, check_axes, complex_units, contiguous
from .network import Network
from .passes import run
from .units import Reader, Selected


class NoGradientPath(RuntimeError):
    """A layer does not lead back to the inputs."""


def unit_gradients(
    network: Network,
    readers: Sequence[Sequence[Reader]],
    batch: Batch,
    *,
    autocast: torch.dtype | None = None,
    lift: float = 1.0,
) -> Iterator[tuple[int, int, tuple[Tensor | None, ...]]]:
    """Yields ``(layer, reader, gradients)`` for every reader of every layer, deepest layer first.

    A layer's part of the graph is let go as soon as its last unit is done. Gradients are None for inputs that
    are not floating point or that the unit does not depend on. On their way they are ``lift`` times as large, a power
    of two.
    """
    as_two = network.alone_as_two and len(batch) == 1 and batch.measured.device.type == "cpu"
    samples, batch = len(batch), batch.twice() if as_two else batch
    leaves = batch.map(_normal)
    leaves = replace(leaves, inputs=tuple(map(_leaf, leaves.inputs)))
    floating = [isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves.inputs]
    sources = [leaf for leaf, has_gradient in zip(leaves.inputs, floating, strict=True) if has_gradient]
    with torch.autocast(sources[0].device.type, dtype=autocast, enabled=autocast is not None):
        outputs = run(network, leaves)
    while outputs:
        place, output = outputs.popitem()
        for number, reader in enumerate(readers[place]):
            scalars = _scalars(network, place, reader, output, batch, samples)
            more = bool(outputs) or number + 1 < len(readers[place])
            found = iter(_gradient(scalars, sources, network.layers[place].name, lift, retain_graph=more))
            shown = [next(found) if has_gradient else None for has_gradient in floating]
            yield place, number, tuple(gradient if gradient is None else gradient[:samples] for gradient in shown)
        del output, scalars


def _normal(item: Any) -> Any:
    """A tensor that autograd can work with also where it was made under ``torch.inference_mode()``."""
    return item.clone() if isinstance(item, Tensor) and item.is_inference() else item


def _leaf(item: Any) -> Any:
    """An input that records gradients without touching the caller's tensor; integers stay as they are."""
    if not isinstance(item, Tensor) or not (item.is_floating_point() or item.is_complex()):
        return item
    return item.detach().requires_grad_()


def _scalars(network: Network, place: int, reader: Reader, output: Any, batch: Batch, samples: int) -> Tensor:
    """Of the first samples of the batch; the others are copies."""
    name = network.layers[place].name
    if isinstance(reader, Selected):
        scalars = reader(contiguous(output))[:samples]
        if scalars.is_complex():
            raise complex_units(name, "a callable neuron_selector that takes the real and the imaginary part")
        return scalars
    read = apply_layout(network.layout, output, name)
    check_axes(read.shape, batch.image(read.ndim).shape, name)
    return reader(read[:samples])


def _gradient(
    scalars: Tensor, sources: list[Tensor], name: str, lift: float, *, retain_graph: bool
) -> tuple[Tensor | None, ...]:
    gradients: tuple[Tensor | None, ...] = ()
    if scalars.requires_grad:
        weights = torch.full_like(scalars, lift)
        gradients = torch.autograd.grad(scalars, sources, weights, retain_graph=retain_graph, allow_unused=True)
    if all(gradient is None for gradient in gradients):
        raise NoGradientPath(
            f"Layer {name!r} has no gradient path to the inputs: it does not depend on them, or something before it "
            "detaches, rounds, quantises or runs under no_grad, as checkpointing with use_reentrant=True does. Choose "
            "another layer or a differentiable model."
        )
    return tuple(gradient if gradient is None else _lowered(gradient, lift) for gradient in gradients)


def _lowered(gradient: Tensor, lift: float) -> Tensor:
    """A gradient without its lift; what would be a denormal number is zero."""
    if lift == 1:
        return gradient
    return torch.nn.functional.hardshrink(gradient, torch.finfo(gradient.dtype).tiny * lift) / lift
