"""Probing: which units a NaN in the input reaches, on inputs of any size.

A NaN in the input reaches exactly the units that it can influence, through any layer, branch or pooling, and nobody
needs to know which layers these are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..network.grids import check_grid
from ..network.layers import ForwardFunc, Layer, all_modules, aside, first_sample, is_batch
from ..network.layouts import Layout, apply_layout, tokens
from ..network.passes import layer_outputs
from .kernels import nan_stays_in_place

MIN_AREA_LIMIT = 32768  # pixels of a canvas that small inputs may use


class Refused(Exception):
    """The network, or the reading of its layers, does not take a canvas of this size."""


class Prober:
    """Runs a network on one sample, cut or repeated to any size, and tells which units NaN has reached."""

    def __init__(
        self,
        forward_func: ForwardFunc,
        layers: Sequence[Layer],
        layout: Layout,
        inputs: tuple[Tensor, ...],
        additional_forward_args: tuple[Any, ...] = (),
        input_index: int = 0,
    ) -> None:
        self.forward_func, self.layers, self.layout = forward_func, list(layers), layout
        self.modules = all_modules(forward_func, layers)
        self.input_index = input_index
        samples = len(_checked(inputs[input_index]))
        self.arguments = [first_sample(item, samples) for item in (*inputs, *additional_forward_args)]
        self.sample: Tensor = self.arguments[input_index]
        self.size: tuple[int, ...] = tuple(self.sample.shape[2:])
        self.area_limit = max(2 * math.prod(self.size), MIN_AREA_LIMIT)
        self.grids: list[tuple[int, ...]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Eval mode, no gradients, no kernels that spread NaN; the caller's random state is left alone."""
        with aside(self.modules, self.sample.device), nan_stays_in_place():
            self._find_grids()
            yield

    def _find_grids(self) -> None:
        try:
            found = layer_outputs(self.forward_func, self.layers, tuple(self.arguments))
        except Exception as error:
            error.add_note(
                f"Raised by the network for one sample of shape {tuple(self.sample.shape[1:])}, on which captum_erf "
                "looks for the theoretical receptive field; pass the shape or the inputs that the network takes."
            )
            raise
        for place, layer in enumerate(self.layers):
            output = apply_layout(self.layout, found[place], layer.name)
            check_grid(self.forward_func, layer, self.layout, output, self.sample, tuple(self.arguments))
            self.grids.append(tuple(output.shape[2:]))
            if output.isnan().any():
                raise ValueError(
                    f"Layer {layer.name!r} gives NaN for finite inputs, so that NaN cannot probe it; "
                    "check the weights and the precision, or pass real inputs instead of a shape."
                )

    @property
    def max_stride(self) -> int:
        """The stride of the coarsest layer, about."""
        return max(
            math.ceil(length / units) for grid in self.grids for length, units in zip(self.size, grid, strict=True)
        )

    def canvas(self, size: Sequence[int]) -> Tensor:
        """The sample cut or repeated to another size."""
        canvas = self.sample
        for axis, length in enumerate(size, start=2):
            index = torch.arange(length, device=canvas.device) % canvas.shape[axis]
            canvas = canvas.index_select(axis, index)
        return canvas

    def reached(self, batch: Tensor, layers: Sequence[int]) -> list[NDArray[np.bool_]]:
        """For each of the layers, which units hold NaN: ``(N, *grid)``."""
        chosen = [self.layers[layer] for layer in layers]
        try:
            outputs = self._outputs(batch, chosen)
        except Exception as error:
            error.add_note(
                "Raised by the network for an input that holds NaN, with which captum_erf looks for the theoretical "
                "receptive field; switch off what looks for NaN in the network meanwhile."
            )
            raise
        return [output.isnan().any(1).cpu().numpy() for output in outputs]

    def reached_on_canvas(self, batch: Tensor, layers: Sequence[int]) -> list[NDArray[np.bool_]]:
        """The same on a canvas of another size than the input's, which the network may refuse."""
        if isinstance(self.layout, tokens):
            raise Refused("tokens are folded into the grid of the whole input alone")
        try:
            reached = self.reached(batch, layers)
        except Exception as error:
            raise Refused("the network does not run on this size") from error
        if any(found.ndim != batch.ndim - 1 or len(found) != len(batch) for found in reached):
            raise Refused("the layers hand over something else on this size")
        return reached

    def _outputs(self, batch: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
        arguments = [_repeat(item, len(batch)) for item in self.arguments]
        arguments[self.input_index] = batch
        outputs = layer_outputs(self.forward_func, layers, tuple(arguments))
        return [apply_layout(self.layout, outputs[place], layer.name) for place, layer in enumerate(layers)]


def _checked(sample: Any) -> Tensor:
    if not isinstance(sample, Tensor) or not 3 <= sample.ndim <= 5 or 0 in sample.shape:
        got = tuple(sample.shape) if isinstance(sample, Tensor) else type(sample).__name__
        raise ValueError(f"Inputs must be a tensor (N, C_in, *size) with one to three spatial axes, got {got}.")
    if not sample.is_floating_point():
        raise TypeError(
            f"Inputs of type {sample.dtype} cannot hold NaN, with which the theoretical receptive field is found; "
            "pass floating-point inputs, such as the embedded tokens."
        )
    if sample[:1].isnan().any():
        raise ValueError("The first sample holds NaN; pass finite inputs.")
    return sample


def _repeat(item: Any, count: int) -> Any:
    return item.expand(count, *item.shape[1:]) if is_batch(item, 1) else item
