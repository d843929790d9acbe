"""Probing: which units a NaN in the input reaches, on inputs of any size.

A NaN in the input reaches exactly the units that it can influence, through any layer, branch or pooling, and nobody
needs to know which layers these are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..network.batch import Batch
from ..network.guards import aside
from ..network.layouts import tokens
from ..network.network import Network
from ..network.passes import read
from ..network.readings import Settled
from ..network.recorder import LayerLeftOut
from .nan_mode import NaNRefused, TooManyOperators, safe_nan

MIN_AREA_LIMIT = 32768  # pixels of a canvas that small inputs may use
FREE_OPERATORS = 3000  # that a pass may run before those of a clean pass are counted
LONGEST_WORDS = 120  # of the network's own, in a warning
MORE_OPERATORS = 20  # times as many as the clean pass ran are a loop that waits for numbers


class Refused(Exception):
    """The network, or the reading of its layers, does not take a canvas of this size."""


class CannotProbe(Exception):
    """NaN tells nothing of this network, for the reason that is given."""


class Prober:
    """
    Runs a network on one sample, cut or repeated to any size, and tells which units NaN has reached.

    ``folds`` tells whether it was seen to lay out several axes as one on the way.
    """

    def __init__(self, settled: Settled, batch: Batch) -> None:
        self.network, self.grids = settled.network, settled.grids
        self.batch = batch.sample()
        self.sample, self.size = self.batch.measured, self.batch.size
        self.area_limit = max(2 * math.prod(self.size), MIN_AREA_LIMIT)
        self.operator_limit = FREE_OPERATORS
        self.folds = False
        if self.sample.isnan().any():
            raise ValueError("The first sample holds NaN; pass finite inputs.")
        for layer, reading in zip(settled.network.layers, settled.readings, strict=True):
            if reading.has_nan:
                raise ValueError(
                    f"Layer {layer.name!r} gives NaN for finite inputs, so that NaN cannot probe it; "
                    "check the weights and the precision, or pass real inputs instead of a shape."
                )

    def running(self) -> AbstractContextManager[Any]:
        """Eval mode, no gradients; the caller's random state is left alone."""
        return aside(self.network, self.batch)

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
            return self._reached(inputs, layers)
        except LayerLeftOut as error:
            raise CannotProbe(str(error).rstrip(".")) from error
        except Exception as error:
            said = next(iter(str(error).splitlines()), "")[:LONGEST_WORDS]
            raise CannotProbe(f"the network raises {type(error).__name__} for an input with NaN: {said}") from error

    def reached_on_canvas(self, inputs: Tensor, layers: Sequence[int]) -> list[NDArray[np.bool_]]:
        """The same on a canvas of another size than the input's, which the network may refuse."""
        if isinstance(self.network.layout, tokens):
            raise Refused("tokens are folded into the grid of the whole input alone")
        try:
            reached = self._reached(inputs, layers)
        except CannotProbe:
            raise
        except LayerLeftOut as error:
            raise Refused(str(error).rstrip(".")) from error
        except Exception as error:
            raise Refused("the network does not run on this size") from error
        if any(found.ndim != inputs.ndim - 1 or len(found) != len(inputs) for found in reached):
            raise Refused("the layers hand over something else on this size")
        return reached

    def _reached(self, inputs: Tensor, layers: Sequence[int]) -> list[NDArray[np.bool_]]:
        network, batch = self.network.only(layers), self.batch.with_measured(inputs)
        try:
            try:
                outputs = self._outputs(network, batch)
            except TooManyOperators:
                fewer, self.operator_limit = self.operator_limit, MORE_OPERATORS * self._count_operators()
                if self.operator_limit <= fewer:
                    raise
                outputs = self._outputs(network, batch)
        except NaNRefused as refusal:
            raise CannotProbe(str(refusal)) from refusal
        return [output.isnan().any(1).cpu().numpy() for output in outputs]

    def _outputs(self, network: Network, batch: Batch) -> list[Tensor]:
        with safe_nan(self.operator_limit) as mode:
            outputs = read(network, batch)
        self.folds |= mode.folds
        return outputs

    def _count_operators(self) -> int:
        """Those of a clean pass over the whole input, which ends of itself."""
        with safe_nan() as mode:
            read(self.network, self.batch)
        return mode.count
