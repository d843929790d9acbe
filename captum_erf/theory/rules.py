"""What each operation does to mean squared gradients.

With random weights of mean 0 the gradients that meet in a sum do not depend on each other, so that their mean squares
add up: what multiplies a gradient by w multiplies its mean square by the mean of w^2. Each rule is the linear operation
whose transpose does that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class NoRule(ValueError):
    """An operation whose mean squares are not known."""


@dataclass(frozen=True)
class Operation:
    """
    One of torch's operations, as the network calls it.

    Attributes:
        run (Callable): The operation itself.
        filters (collection of int): Identities of fixed weights that nobody draws at random, such as those of a blur.
    """

    run: Callable[..., Any]
    filters: Collection[int]

    def __call__(self, *args: Any, **more: Any) -> Any:
        return self.run(*args, **more)

    def mean_square(self, weight: Tensor, like: Tensor) -> Tensor:
        """The mean square of a layer's weights in place of each, a fixed filter's own squares, as another tensor is."""
        squares = weight.detach().double().square().to(like)
        return squares if id(weight) in self.filters else squares.mean().expand_as(squares)


def carries(values: Any) -> bool:
    """Whether a tensor that requires a gradient is among the values."""
    if isinstance(values, Tensor):
        return values.requires_grad
    if isinstance(values, dict):
        return any(map(carries, values.values()))
    return isinstance(values, (list, tuple)) and any(map(carries, values))


def _refuse_two(one: Any, other: Any) -> None:
    if carries(one) and carries(other):
        raise NoRule(" of two activations")


def moved(call: Operation, *args: Any, **more: Any) -> Any:
    """What only moves values and adds them up, as it is."""
    return call(*args, **more)


def weighted(call: Operation, input: Tensor, weight: Tensor, bias: Any = None, *rest: Any, **more: Any) -> Any:
    """Convolutions and linear layers: w becomes the mean of w^2."""
    _refuse_two(input, weight)
    return call(input, call.mean_square(weight, input), None, *rest, **more)


def product(call: Operation, one: Tensor, other: Tensor) -> Any:
    """A matrix of weights."""
    _refuse_two(one, other)
    return call(one, call.mean_square(other, one)) if carries(one) else call(call.mean_square(one, other), other)


def scaled(call: Operation, one: Any, other: Any) -> Any:
    """A factor c becomes c^2."""
    _refuse_two(one, other)
    return one * other**2 if carries(one) else one**2 * other


def divided(call: Operation, one: Any, other: Any) -> Any:
    """A divisor c becomes c^2."""
    if carries(other):
        raise NoRule(" by an activation")
    return one / other**2


def summed(call: Operation, one: Any, other: Any, *, alpha: float = 1) -> Any:
    """Sums, and differences as well: the square of -1 is 1."""
    return one + alpha**2 * other


def same(call: Operation, input: Tensor, *_: Any, **more: Any) -> Tensor:
    """What multiplies by 1 or -1, and what is idle after training."""
    return input


def half(call: Operation, input: Tensor, *_: Any, **more: Any) -> Tensor:
    """ReLU and its like: the slope is 1 for one half of the values and 0 for the other."""
    return input / 2


def leaky(call: Operation, input: Tensor, slope: Any = 0.01, *_: Any, **more: Any) -> Tensor:
    """The slope is 1 for one half of the values and a smaller one for the other."""
    square = torch.as_tensor(more.get("negative_slope", slope)).detach().double().square().mean()
    return input * (1 + float(square)) / 2


def clamped(call: Operation, input: Tensor, low: Any = None, high: Any = None, **more: Any) -> Tensor:
    """ReLU, written as a clamp."""
    low, high = (more.get(name, more.get(f"{name}_val", given)) for name, given in (("min", low), ("max", high)))
    if low != 0 or (high is not None and not high > 0):
        raise NoRule(f" from {low} to {high}")
    return input / 2


def batch_norm(call: Operation, input: Tensor, mean: Any, var: Any, weight: Any = None, *_: Any, **more: Any) -> Tensor:
    """The square of its scale."""
    squares: Tensor = torch.ones(input.shape[1]).to(input) if weight is None else weight.detach().square()
    if var is not None:
        squares = squares / (var + more.get("eps", 1e-5))
    return input * squares.reshape(-1, *(1,) * (input.ndim - 2))


def channel_norm(call: Operation, input: Tensor, groups: Any = 1, weight: Any = None, *_: Any, **more: Any) -> Tensor:
    """Group and instance norm, which take their scale from the input: the square of the weight."""
    return batch_norm(call, input, None, None, weight)


def last_norm(call: Operation, input: Tensor, shape: Any, weight: Any = None, *_: Any, **more: Any) -> Tensor:
    """Layer and RMS norm, which take their scale from the input: the square of the weight."""
    return input if weight is None else input * weight.detach().square()


def max_pool(
    call: Operation,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Each of n values is the largest with a chance of 1 / n: the mean."""
    if return_indices or set(_each(dilation, input)) != {1}:
        raise NoRule(" with dilation or indices")
    mean = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[input.ndim - 3]
    pooled: Tensor = mean(input, kernel_size, stride, padding, ceil_mode, False)
    return pooled


def avg_pool(call: Operation, input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, *rest: Any) -> Any:
    """The weight of each of n values is 1 / n, and its square that divided by n again."""
    ones = torch.ones_like(input[:1, :1])
    kernel, steps, margins = (_each(value, input) for value in (kernel_size, stride or kernel_size, padding))
    pads = [pad for step, margin in zip(steps[::-1], margins[::-1], strict=True) for pad in (margin, margin + step - 1)]
    convolve = (F.conv1d, F.conv2d, F.conv3d)[input.ndim - 3]
    counts = convolve(F.pad(ones, pads), ones.new_ones(1, 1, *kernel), stride=steps)
    pooled, whole = (call(each, kernel_size, stride, padding, *rest) for each in (input, ones))
    for axis, length in enumerate(whole.shape[2:], start=2):
        counts = counts.narrow(axis, 0, length)
    return pooled * whole / counts


def adaptive_avg_pool(call: Operation, input: Tensor, size: Any) -> Any:
    """As a mean of as many values as fall into each cell."""
    pooled = call(input, size)
    for axis, (length, cells) in enumerate(zip(input.shape[2:], pooled.shape[2:], strict=True)):
        counts = [ceil((cell + 1) * length / cells) - cell * length // cells for cell in range(cells)]
        pooled = pooled / torch.tensor(counts).to(pooled).reshape(-1, *(1,) * (input.ndim - 3 - axis))
    return pooled


def adaptive_max_pool(call: Operation, input: Tensor, size: Any, return_indices: bool = False) -> Any:
    """Each of n values is the largest with a chance of 1 / n: the mean."""
    if return_indices:
        raise NoRule(" with indices")
    return (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[input.ndim - 3](input, size)


def mean(call: Operation, input: Tensor, *args: Any, **more: Any) -> Any:
    """The weight of each of n values is 1 / n, and its square that divided by n again."""
    result = call(input, *args, **more)
    return result * (result.numel() / input.numel())


def largest(call: Operation, input: Tensor, dim: Any = (), keepdim: bool = False) -> Any:
    """Each of n values is the largest with a chance of 1 / n: the mean."""
    return input.mean(dim, keepdim)


def interpolated(
    call: Operation,
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    **more: Any,
) -> Any:
    """Copies of the nearest value; linear weights axis by axis, each squared."""
    if mode in ("nearest", "nearest-exact"):
        return call(input, size, scale_factor, mode, **more)
    if mode not in ("linear", "bilinear", "trilinear") or more.get("antialias"):
        raise NoRule(f" in mode {mode!r}")
    sizes = _each(size, input) if size is not None else [None] * (input.ndim - 2)
    factors = _each(scale_factor, input) if scale_factor is not None else [None] * (input.ndim - 2)
    for axis, (length, factor) in enumerate(zip(sizes, factors, strict=True), start=2):
        unit = torch.eye(input.shape[axis]).to(input)[None]
        shares = call(unit, length, factor, "linear", **more)[0].square()
        input = torch.tensordot(input, shares, ([axis], [0])).movedim(-1, axis)
    return input


def _each(value: Any, input: Tensor) -> list[Any]:
    """One value for each spatial axis."""
    values = list(value) if isinstance(value, Sequence) else [value]
    return values * (input.ndim - 2) if len(values) == 1 else values


def _table(rules: dict[Callable[..., Any], str]) -> dict[str, Callable[..., Any]]:
    return {name: rule for rule, names in rules.items() for name in names.split()}


RULES = _table(
    {
        moved: "radd iadd sum cumsum cat concat concatenate stack hstack vstack dstack pad getitem get setitem clone "
        "contiguous to double float type type_as view view_as reshape reshape_as flatten unflatten squeeze unsqueeze "
        "permute transpose t swapaxes swapdims movedim moveaxis expand expand_as repeat tile repeat_interleave "
        "broadcast_to roll flip rot90 chunk split tensor_split unbind narrow select index_select gather take_along_dim "
        "masked_fill where copy unfold fold pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle",
        weighted: "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear",
        product: "matmul rmatmul mm bmm",
        scaled: "mul multiply rmul imul",
        divided: "div divide true_divide truediv itruediv",
        summed: "add sub subtract rsub isub",
        same: "neg negative abs absolute dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout",
        half: "relu relu6 gelu silu elu celu selu mish softplus hardswish threshold",
        leaky: "leaky_relu prelu",
        clamped: "clamp clamp_min clip hardtanh",
        batch_norm: "batch_norm",
        channel_norm: "group_norm instance_norm",
        last_norm: "layer_norm rms_norm",
        max_pool: "max_pool1d max_pool2d max_pool3d",
        avg_pool: "avg_pool1d avg_pool2d avg_pool3d",
        adaptive_avg_pool: "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d",
        adaptive_max_pool: "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d",
        mean: "mean",
        largest: "amax",
        interpolated: "interpolate upsample",
    }
)

OTHER_ORDER = frozenset({torch.batch_norm, torch.instance_norm})
"""Functions that share a name with a rule but not the order of its arguments."""
