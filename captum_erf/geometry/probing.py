"""Probing: which units a NaN in the input reaches, on inputs of any size.

A NaN in the input reaches exactly the units that it can influence, through any layer, branch or pooling, and nobody
needs to know which layers these are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..network.batch import Batch
from ..network.guards import aside
from ..network.layouts import tokens
from ..network.passes import read
from ..network.readings import Settled
from .kernels import nan_stays_in_place

MIN_AREA_LIMIT = 32768  # pixels of a canvas that small inputs may use


class Refused(Exception):
    """The network, or the reading of its layers, does not take a canvas of this size."""


class Prober:
    """Runs a network on one sample, cut or repeated to any size, and tells which units NaN has reached."""

    def __init__(self, settled: Settled, batch: Batch) -> None:
        self.network, self.grids = settled.network, settled.grids
        self.batch = batch.sample()
        self.sample, self.size = self.batch.measured, self.batch.size
        self.area_limit = max(2 * math.prod(self.size), MIN_AREA_LIMIT)
        if self.sample.isnan().any():
            raise ValueError("The first sample holds NaN; pass finite inputs.")
        for layer, reading in zip(settled.network.layers, settled.readings, strict=True):
            if reading.has_nan:
                raise ValueError(
                    f"Layer {layer.name!r} gives NaN for finite inputs, so that NaN cannot probe it; "
                    "check the weights and the precision, or pass real inputs instead of a shape."
                )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Eval mode, no gradients, no kernels that spread NaN; the caller's random state is left alone."""
        with aside(self.network, self.batch), nan_stays_in_place():
            yield

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

    def reached(self, inputs: Tensor, layers: Sequence[int]) -> list[NDArray[np.bool_]]:
        """For each of the layers, which units hold NaN: ``(N, *grid)``."""
        try:
            outputs = read(self.network.only(layers), self.batch.with_measured(inputs))
        except Exception as error:
            error.add_note(
                "Raised by the network for an input that holds NaN, with which captum_erf looks for the theoretical "
                "receptive field; switch off what looks for NaN in the network meanwhile."
            )
            raise
        return [output.isnan().any(1).cpu().numpy() for output in outputs]

    def reached_on_canvas(self, inputs: Tensor, layers: Sequence[int]) -> list[NDArray[np.bool_]]:
        """The same on a canvas of another size than the input's, which the network may refuse."""
        if isinstance(self.network.layout, tokens):
            raise Refused("tokens are folded into the grid of the whole input alone")
        try:
            reached = self.reached(inputs, layers)
        except Exception as error:
            raise Refused("the network does not run on this size") from error
        if any(found.ndim != inputs.ndim - 1 or len(found) != len(inputs) for found in reached):
            raise Refused("the layers hand over something else on this size")
        return reached
