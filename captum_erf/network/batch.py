"""Batches: the inputs and additional arguments that a data loader's item holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from captum._utils.common import _format_additional_forward_args
from torch import Tensor

from .layers import is_batch


@dataclass(frozen=True)
class Batches:
    """How a batch is read; ``additional_forward_args`` may be a function of the batch."""

    get_inputs: Callable[[Any], Any] | None = None
    additional_forward_args: Any = None
    input_index: int = 0

    def read(
        self, batch: Any, device: torch.device | None, limit: int | None
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Inputs and arguments on the model's device, at most ``limit`` samples of them."""
        inputs = self._inputs(batch)
        given = self.additional_forward_args
        arguments = _format_additional_forward_args(given(batch) if callable(given) else given) or ()
        samples = len(inputs[self.input_index])
        taken = samples if limit is None else min(limit, samples)
        return (
            tuple(_place(item, samples, taken, device) for item in inputs),
            tuple(_place(item, samples, taken, device) for item in arguments),
        )

    def _inputs(self, batch: Any) -> tuple[Any, ...]:
        if self.get_inputs is not None:
            found = self.get_inputs(batch)
        else:
            found = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
        inputs = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        if not 0 <= self.input_index < len(inputs):
            raise IndexError(f"input_index is {self.input_index}, but a batch has {len(inputs)} inputs.")
        measured = inputs[self.input_index]
        if not isinstance(measured, Tensor):
            raise TypeError(
                "A batch must be a tensor, or a tuple or list whose first item is one; got a "
                f"{type(batch).__name__} in which the inputs are a {type(measured).__name__}. Pass get_inputs=, such "
                "as get_inputs=lambda batch: batch['image']."
            )
        if not 3 <= measured.ndim <= 5:
            raise ValueError(
                "Inputs must have shape (N, C_in, *size) with one to three spatial axes, got "
                f"{tuple(measured.shape)}; add the batch or channel axis with unsqueeze."
            )
        if not measured.is_floating_point():
            raise TypeError(
                f"Inputs must be floating point to have a gradient, got {measured.dtype}; scale images to floats first."
            )
        return inputs


def _place(item: Any, samples: int, taken: int, device: torch.device | None) -> Any:
    if not isinstance(item, Tensor):
        return item
    cut = item[:taken] if is_batch(item, samples) else item
    return cut if device is None else cut.to(device)
