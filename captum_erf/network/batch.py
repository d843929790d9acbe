"""Batches: what goes into the network, and how it is taken from a data loader's items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .rearrangements import Back, InputLayout

AS_THEY_COME = InputLayout()
WHOLE_NUMBERS = (
    "Whole numbers have no gradient: scale images to floats first; of tokens, measure from the embedding's output. "
    "captum.attr.configure_interpretable_embedding_layer(model, NAME) changes the model to take it; pass what its "
    "indices_to_embeddings(tokens) gives, with input_layout=captum_erf.channels_last."
)


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
        tensors = [item for item in self.inputs if isinstance(item, Tensor)]
        for tensor in tensors:
            _check_values(tensor)
        if not self.floating:
            kinds = ", ".join(dict.fromkeys(str(item.dtype) for item in tensors)) or type(self.inputs[0]).__name__
            raise TypeError(f"No input is a floating-point tensor, got {kinds}. {WHOLE_NUMBERS}")
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

    def usable_sample(self) -> Batch:
        """One sample to set up with: the first that is finite, or the first one with zeros where it is not."""
        return self.sample(int(finite_samples(self.measured).int().argmax())).map(_finite)

    def head(self, count: int) -> Batch:
        """The first samples."""
        return self.map(lambda item: item[:count] if self._is_batch(item) else item)

    def tail(self, start: int) -> Batch:
        """The samples from one on."""
        return self.map(lambda item: item[start:] if self._is_batch(item) else item)

    def to(self, device: torch.device | None) -> Batch:
        """The batch on a device, from pinned memory without waiting for it; None leaves it where it is."""
        if device is None:
            return self
        to_gpu = device.type == "cuda"
        return self.map(lambda item: item.to(device, non_blocking=to_gpu) if isinstance(item, Tensor) else item)

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
        _check_values(measured)
        if measured.is_complex():
            raise TypeError(
                f"Inputs are complex, {measured.dtype}. Pass their real and imaginary parts as channels, torch.cat("
                "[inputs.real, inputs.imag], 1), and let forward_func join them again: lambda parts: model("
                "torch.complex(*parts.chunk(2, 1)))."
            )
        if not measured.is_floating_point():
            raise TypeError(f"Inputs must be floating point to have a gradient, got {measured.dtype}. {WHOLE_NUMBERS}")
        if not 3 <= measured.ndim <= 5 or 0 in measured.shape[1:]:
            raise ValueError(
                "Inputs must have shape (N, C_in, *size) with one to three spatial axes, got "
                f"{tuple(measured.shape)}; add the batch or channel axis with unsqueeze. Points or tokens that are "
                "packed as (N * P, C) get their batch axis back by inputs.unflatten(0, (N, P)), and are read with "
                "input_layout=captum_erf.channels_last."
            )
        return self

    def _tensor(self) -> Tensor:
        """The measured input; refuses what is none."""
        if self.index is not None and not 0 <= self.index < len(self.inputs):
            raise IndexError(f"input_index is {self.index}, but a batch has {len(self.inputs)} inputs.")
        measured: Any = self.measured
        if not isinstance(measured, Tensor):
            is_array = isinstance(measured, np.ndarray)
            way = "torch.as_tensor" if is_array else "lambda batch: batch['image']"
            raise TypeError(
                "A batch must be a tensor, or a tuple or list whose first item is one; here the inputs are a "
                f"{type(measured).__name__}. Pass get_inputs=, such as get_inputs={way}."
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
    elif _is_of_detection(item):
        raise ValueError(
            "The batch is (images, targets) with a list of images, as detectors take them. Pass get_inputs=lambda "
            "batch: torch.stack(batch[0]), for images of one size, and forward_func=lambda images: model(list(images)) "
            "with the layer's module."
        )
    else:
        found = item[0] if isinstance(item, (tuple, list)) and item else item
    given = additional_forward_args(item) if callable(additional_forward_args) else additional_forward_args
    inputs = tuple(found) if isinstance(found, (tuple, list)) else (found,)
    return Batch(inputs, as_arguments(given), input_index).read_by(layout).checked()


def _is_of_detection(item: Any) -> bool:
    """Whether a batch is a list of images and a list of what is on them."""
    if not (
        isinstance(item, (tuple, list)) and len(item) == 2 and all(isinstance(part, (tuple, list)) for part in item)
    ):
        return False
    images, targets = item
    return bool(images) and len(images) == len(targets) and all(isinstance(target, dict) for target in targets)


def _check_values(item: Tensor) -> None:
    """Refuses a tensor that holds no values to run a network on."""
    if item.is_meta:
        raise TypeError("Inputs on the meta device hold no values; pass real ones.")
    if torch._C._functorch.is_batchedtensor(item):
        raise TypeError(
            "Inputs come from torch.func.vmap, under which nothing can be looked at. Pass the whole batch instead: the "
            "samples' gradients are taken one by one all the same."
        )


def as_arguments(given: Any) -> tuple[Any, ...]:
    """Captum's ``additional_forward_args``: none, one, or a tuple of them."""
    if given is None:
        return ()
    return given if isinstance(given, tuple) else (given,)


def finite_samples(values: Tensor) -> Tensor:
    """
    Which samples of ``(N, *shape)`` hold finite numbers only, ``(N,)``.

    On the CPU a finite sum, which is fast, shows all; to ask a GPU for it would be to wait.
    """
    rows = values.unsqueeze(-1).flatten(1)
    if rows.device.type == "cpu" and (finite := torch.isfinite(rows.sum(1))).all():
        return finite
    return torch.isfinite(rows).all(1)


def _finite(item: Any) -> Any:
    is_float = isinstance(item, Tensor) and item.is_floating_point()
    return torch.nan_to_num(item, 0.0, 0.0, 0.0) if is_float else item
