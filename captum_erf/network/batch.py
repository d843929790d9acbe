"""Batches: what goes into the network, and how it is taken from a data loader's items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .rearrangements import Back, InputLayout

AS_THEY_COME = InputLayout()


@dataclass(frozen=True)
class Batch:
    """
    Inputs and further arguments of the network, and which of the inputs the map is of.

    Tensors as long as the measured input hold one entry for each sample, as in Captum. The measured input is always
    ``(N, C_in, *size)``; ``back`` gives it the order of axes that the network takes, where that is another one.

    Examples::

        >>> batch = Batch((torch.ones(4, 3, 8, 8),), (torch.arange(4), "fast"))
        >>> len(batch), batch.size, batch.sample(2).arguments
        (4, (8, 8), (tensor([2]), 'fast'))
        >>> longer = batch.sample().with_measured(torch.ones(6, 3, 16, 16))
        >>> len(longer), longer.size, longer.arguments[0].shape
        (6, (16, 16), torch.Size([6]))
    """

    inputs: tuple[Any, ...]
    arguments: tuple[Any, ...] = ()
    index: int | None = 0
    back: Back | None = None

    @property
    def measured(self) -> Tensor:
        """The input that the map is of, ``(N, C_in, *size)``."""
        measured: Tensor = self.inputs[self.index or 0]
        return measured

    def image(self, num_axes: int) -> Tensor:
        """The input over which a grid lies: the measured one; where none is, one with as many axes."""
        if self.index is not None:
            return self.measured
        return min(self.floating, key=lambda item: (item.ndim != num_axes, item.ndim < 3))

    @property
    def floating(self) -> list[Tensor]:
        """The inputs that can have a gradient."""
        tensors = [item for item in self.inputs if isinstance(item, Tensor)]
        return [tensor for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()]

    def differentiable(self) -> Batch:
        """The batch itself; refuses one in which no input can have a gradient."""
        if not self.floating:
            raise TypeError("No input is a floating-point tensor; pass the embedded or normalised inputs as floats.")
        return self

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial shape of the measured input."""
        return tuple(self.measured.shape[2:])

    @property
    def everything(self) -> tuple[Any, ...]:
        """Inputs and further arguments, in the network's order."""
        return (*self.inputs, *self.arguments)

    @property
    def given(self) -> tuple[Any, ...]:
        """The inputs as the network takes them."""
        return self.in_own_order(self.inputs)

    def in_own_order(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        """What there is for each of the inputs, with that for the measured one in the order that the network takes."""
        if self.back is None:
            return items
        place = self.index or 0
        item = items[place]
        return (*items[:place], None if item is None else self.back(item), *items[place + 1 :])

    @property
    def is_alone(self) -> bool:
        """Whether the measured input is all that the network takes."""
        return len(self.inputs) == 1 and not self.arguments

    @property
    def has_arguments_by_sample(self) -> bool:
        """Whether a further argument may hold one entry for each sample."""
        return any(map(self._is_batch, self.arguments))

    @property
    def shapes(self) -> tuple[Any, ...]:
        """What differs where the network may run otherwise: shapes but for the batch's length, and all else given."""
        return tuple(
            (item.shape[1:] if self._is_batch(item) else item.shape, item.dtype)
            if isinstance(item, Tensor)
            else repr(item)
            for item in self.everything
        )

    def __len__(self) -> int:
        return len(self.measured) if isinstance(self.measured, Tensor) and self.measured.ndim else 1

    def sample(self, number: int = 0) -> Batch:
        """A batch of one of the samples, the network's to change."""
        return self.map(lambda item: item[number : number + 1].detach().clone() if self._is_batch(item) else item)

    def head(self, count: int) -> Batch:
        """The first samples."""
        return self.map(lambda item: item[:count] if self._is_batch(item) else item)

    def tail(self, start: int) -> Batch:
        """The samples from one on."""
        return self.map(lambda item: item[start:] if self._is_batch(item) else item)

    def to(self, device: torch.device | None) -> Batch:
        """The batch on a device; None leaves it where it is."""
        return self.map(lambda item: item.to(device) if isinstance(item, Tensor) and device is not None else item)

    def with_measured(self, measured: Tensor) -> Batch:
        """Another measured input; of a batch of one sample, all else is repeated to its length."""
        longer = self
        if len(self) == 1:
            longer = self.map(
                lambda item: item.expand(len(measured), *item.shape[1:]) if self._is_batch(item) else item
            )
        return longer._replaced(measured)

    def read_by(self, layout: InputLayout) -> Batch:
        """The batch with its measured input, which comes as the network takes it, read as ``(N, C_in, *size)``."""
        if layout.is_plain:
            return self
        index = self.index
        if index is None:
            index = next(place for place, item in enumerate(self.inputs) if any(item is one for one in self.floating))
        chosen = replace(self, index=index)
        measured, back = layout.read(chosen._tensor())
        return replace(chosen._replaced(measured), back=back)

    def twice(self) -> Batch:
        """A batch of one sample with a copy of it."""
        return self.map(lambda item: torch.cat([item, item]) if self._is_batch(item) else item)

    def map(self, change: Callable[[Any], Any]) -> Batch:
        """The batch with every input and argument changed."""
        return replace(self, inputs=tuple(map(change, self.inputs)), arguments=tuple(map(change, self.arguments)))

    def checked(self) -> Batch:
        """The batch itself; refuses inputs that no map can be of."""
        measured = self._tensor()
        if not 3 <= measured.ndim <= 5 or 0 in measured.shape[1:]:
            raise ValueError(
                "Inputs must have shape (N, C_in, *size) with one to three spatial axes, got "
                f"{tuple(measured.shape)}; add the batch or channel axis with unsqueeze."
            )
        if not measured.is_floating_point():
            raise TypeError(
                f"Inputs must be floating point to have a gradient, got {measured.dtype}; scale images to floats "
                "first, pass the embedded tokens instead of their numbers."
            )
        return self

    def _tensor(self) -> Tensor:
        """The measured input; refuses what is none."""
        if self.index is not None and not 0 <= self.index < len(self.inputs):
            raise IndexError(f"input_index is {self.index}, but a batch has {len(self.inputs)} inputs.")
        measured: Any = self.measured
        if not isinstance(measured, Tensor):
            raise TypeError(
                "A batch must be a tensor, or a tuple or list whose first item is one; here the inputs are a "
                f"{type(measured).__name__}. Pass get_inputs=, such as get_inputs=lambda batch: batch['image']."
            )
        return measured

    def _replaced(self, measured: Tensor) -> Batch:
        inputs = list(self.inputs)
        inputs[self.index or 0] = measured
        return replace(self, inputs=tuple(inputs))

    def _is_batch(self, item: Any) -> bool:
        return isinstance(item, Tensor) and item.ndim > 0 and len(item) == len(self)


def read_batch(
    item: Any,
    get_inputs: Callable[[Any], Any] | None,
    additional_forward_args: Any,
    input_index: int,
    layout: InputLayout = AS_THEY_COME,
) -> Batch:
    """What a data loader's item holds; ``additional_forward_args`` may be a function of the item."""
    if get_inputs is not None:
        found = get_inputs(item)
    else:
        found = item[0] if isinstance(item, (tuple, list)) and item else item
    given = additional_forward_args(item) if callable(additional_forward_args) else additional_forward_args
    inputs = tuple(found) if isinstance(found, (tuple, list)) else (found,)
    return Batch(inputs, as_arguments(given), input_index).read_by(layout).checked()


def as_arguments(given: Any) -> tuple[Any, ...]:
    """Captum's ``additional_forward_args``: none, one, or a tuple of them."""
    if given is None:
        return ()
    return given if isinstance(given, tuple) else (given,)
