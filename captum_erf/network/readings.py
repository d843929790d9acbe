"""Readings: what one plain pass over one sample shows of a network's layers, before anything is measured.

How often each layer is called, whether its output has a grid over the input, and whether its channels cancel. A
channels-first reading is refused where it would be wrong: the shape settles it where only the last axes go with the
input's by one stride. Where it does not, the network tells: with the input's length, the grid's axes change.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .batch import Batch
from .calls import calls_key, known_calls, remember_calls
from .guards import aside
from .layers import Layer
from .layouts import (
    NO_BATCH_AXIS,
    apply_layout,
    channels_elsewhere,
    channels_look_last,
    check_axes,
    either_axis,
    fits_input,
)
from .looks import Look
from .network import Network
from .passes import WrongInput, record, run
from .recorder import no_such_call

CANCELLATION = 1e-5  # of their terms' sizes, by which sums that are the same may differ
ROUNDING = 1e-4  # of what channels move by, which counts as rounding in their sum


@dataclass(frozen=True)
class Reading:
    """What a layer hands over for one sample: its grid, and how its values are."""

    grid: tuple[int, ...]
    has_nan: bool
    cancels: bool


@dataclass(frozen=True)
class Settled:
    """A network of which every layer's call counts from the first, and what was seen of it.

    ``trains`` names functions that behaved as in training, ``draws`` tells whether random numbers were drawn.
    """

    network: Network
    readings: tuple[Reading, ...]
    trains: tuple[str, ...] = ()
    draws: bool = False

    @property
    def grids(self) -> list[tuple[int, ...]]:
        """The grid of each layer for inputs like those that were looked at."""
        return [reading.grid for reading in self.readings]

    @property
    def cancelling(self) -> list[str]:
        """The layers of which the channels sum to a constant."""
        pairs = zip(self.network.layers, self.readings, strict=False)
        return [layer.name for layer, reading in pairs if reading.cancels]

    def warn_of_cancelling(self) -> None:
        """Warns where the channels sum to a constant at every unit: the sum's gradient is then rounding errors."""
        for name in self.cancelling:
            warnings.warn(
                f"The channels of layer {name!r} sum to the same at every unit, as they do after a normalisation over "
                "them or a softmax: the gradient of their sum is mostly rounding errors. Pass "
                'channel="random" or an index, or choose the layer before it.',
                stacklevel=3,
            )

    def warn_of_unseen(self) -> None:
        """Warns where a module could not be switched to evaluation mode."""
        if self.trains:
            warnings.warn(
                f"The network runs {' and '.join(self.trains)} as in training, although every module in sight is in "
                "evaluation mode: a module is hidden from captum_erf, or a function is called with training=True. "
                "Call eval() on that module, or pass a forward_func that refers to it.",
                stacklevel=3,
            )

    def warn_of_random(self) -> None:
        """Warns where no two passes are those of the same network."""
        if self.draws and not self.trains:
            warnings.warn(
                "The network draws random numbers in evaluation mode, as stochastic depth that eval() does not switch "
                "off: each pass is another network, and the map is a mean over them. Switch that off, or pass "
                "generator= for a result that can be repeated.",
                stacklevel=3,
            )


def settle(network: Network, batch: Batch, *, grids: bool = True, look: Look | None = None) -> Settled:
    """
    Looks at a network with one sample of a batch, on the side; without ``grids`` it only counts calls.

    What a look at this sample has shown before need not be looked at again.

    Raises:
        ValueError: A layer is called several times and nothing says which call is meant, there is no such call, or a
            layer's output is no ``(N, C, *grid)`` over the input.
        TypeError: A layer hands over no tensor, or a quantised one.
        RuntimeError: A layer is never called.

    Examples::

        >>> from torch import nn
        >>> relu = nn.ReLU()
        >>> network = Network.of(nn.Sequential(nn.Conv1d(1, 2, 3), relu, nn.Conv1d(2, 2, 3), relu), ["1"], call=-1)
        >>> settled = settle(network, Batch((torch.ones(4, 1, 9),)))
        >>> settled.network.layers[0].call, settled.grids
        (1, [(5,)])
    """
    with aside(network, batch) as first:
        look = look or first or _look(network, batch)
        network = replace(_counted(network, look.calls), alone_as_two=look.unseen.normalises_samples)
        network = network.steadied(look.recorder.steady)
        trains, is_whole = tuple(look.unseen.names), len(look.recorder.outputs) == len(network.layers)
        outputs = look.recorder.found() if grids and is_whole else {}
        look.recorder.forget()
        if not grids:
            return Settled(network, (), trains, look.draws)
        outputs = outputs or run(network, batch.sample())
        _question_axes(network, batch)
        readings = [_reading(network.only([place]), outputs[place], batch) for place in range(len(network.layers))]
    return Settled(network, tuple(readings), trains, look.draws)


def _look(network: Network, batch: Batch) -> Look:
    key = calls_key(network, batch)
    calls = known_calls(network, key)
    network = network if calls is None else _counted(network, calls)
    look = Look(network, calls)
    try:
        with look.looking():
            record(network, batch.sample(), look.recorder)
        if calls is None:
            remember_calls(network, key, look.calls)
    except WrongInput:
        raise
    except Exception as error:
        if not all(look.calls):
            error.add_note(_note(batch) + (network.way_inside if isinstance(error, NotImplementedError) else ""))
            raise
    return look


def _note(batch: Batch) -> str:
    """What to look at where the network does not run on one sample."""
    shape, note = tuple(batch.given[batch.index or 0].shape), ""
    if len(shape) == 3 and len(batch.inputs) > 1:
        note = (
            f" The {len(batch.inputs)} inputs may be a list of images: for a detector pass get_inputs=lambda batch: "
            "torch.stack(batch[0]) and forward_func=lambda images: model(list(images))."
        )
    elif len(shape) == 3 and shape[0] in (1, 3):
        note = NO_BATCH_AXIS
    return (
        f"Raised by the network for one sample of shape {shape[1:]}, on which captum_erf looks at its layers; pass the "
        f"inputs, or the shape of inputs, that the network takes.{note}"
    )


def runs(network: Network, batch: Batch) -> bool:
    """Whether a pass over one sample of a batch goes through."""
    try:
        with aside(network, batch):
            run(network, batch.sample())
    except Exception:
        return False
    return True


def _counted(network: Network, counts: Sequence[int]) -> Network:
    """The network with its layers' calls counted from the first."""
    return replace(network, layers=tuple(_settled(network, *pair) for pair in zip(network.layers, counts, strict=True)))


def _settled(network: Network, layer: Layer, count: int) -> Layer:
    """The layer with its call counted from the first; refuses where it is not clear which is meant."""
    if layer.call is None and count > 1:
        raise ValueError(
            f"Layer {layer.name!r} is called {count} times in one forward pass. Say which call is meant: call=0 for "
            "the first, call=1 for the second, ... call=-1 for the last (what Captum's NeuronGradient reads)."
        )
    call = layer.call or 0
    if not -count <= call < count:
        raise no_such_call(network, layer, count)
    return replace(layer, call=call % count)


def _reading(network: Network, output: Any, batch: Batch) -> Reading:
    (layer,) = network.layers
    read = apply_layout(network.layout, output, layer.name)
    image = batch.image(read.ndim)[:1]
    check_axes(read.shape, image.shape, layer.name)
    if network.layout == "channels_first":
        shape, size = read.shape, image.shape[2:]
        first, last = fits_input(shape[2:], size), fits_input(shape[1:-1], size)
        growing = [] if first and not last else _growing_axes(network, read, batch)
        is_open = first and last and not growing and len(size) == 1 and shape[1] > 1
        if is_open:
            growing = _local_axes(network, read, batch)
        if growing == [1] or (growing != [2] and last and not first):
            raise channels_look_last(shape, size, layer.name)
        if is_open and growing != [2]:
            raise either_axis(shape, size, layer.name)
    return Reading(tuple(read.shape[2:]), bool(read.isnan().any()), _cancels(network, read, batch))


def _question_axes(network: Network, batch: Batch) -> None:
    """Refuses inputs of which an axis read as spatial may hold the channels.

    Weights fix the number of channels, seldom a length: it is so where the axis read as channels may double, but a
    single other axis may not, and may be so where an axis of 1 or 3 among the others may not. Images of one or three
    channels are what they seem.
    """
    shape = tuple(batch.measured.shape)
    if not network.input_layout.is_plain or batch.index is None or shape[1] == 1 or (len(shape) > 3 and shape[1] == 3):
        return
    spatial = range(2, len(shape))
    short = [axis for axis in spatial if shape[axis] in (1, 3)]
    is_free = _may_double(network, batch, 1)
    fixed = [axis for axis in (spatial if is_free else short) if not _may_double(network, batch, axis)]
    suspects = fixed if is_free and len(fixed) == 1 else [axis for axis in fixed if axis in short]
    if suspects:
        raise channels_elsewhere(shape, suspects[0])


def _may_double(network: Network, batch: Batch, axis: int) -> bool:
    """Whether the network takes one sample with an axis of the measured input twice as long."""
    return runs(network, batch.sample().map(partial(_doubled, batch.measured, axis)))


def _doubled(image: Tensor, axis: int, item: Any) -> Any:
    """An input twice as long, where it has the spatial axes of the measured one."""
    return torch.cat([item, item], axis) if _is_like(item, image) else item


def _halved(image: Tensor, axis: int, item: Any) -> Any:
    """An input half as long, where it has the spatial axes of the measured one."""
    return item.narrow(axis, 0, (item.shape[axis] + 1) // 2) if _is_like(item, image) else item


def _is_like(item: Any, image: Tensor) -> bool:
    return isinstance(item, Tensor) and item.ndim == image.ndim and item.shape[2:] == image.shape[2:]


def _growing_axes(network: Network, output: Tensor, batch: Batch) -> list[int]:
    """The axes of the output that change with the first spatial axis of the input; none if it may not change.

    Half the input is tried first, as a quarter of the work of one twice as long.
    """
    image = batch.image(output.ndim)
    for change in (_halved, _doubled):
        try:
            other = run(network, batch.sample().map(partial(change, image, 2)))[0]
        except Exception:
            continue
        if isinstance(other, Tensor) and other.ndim == output.ndim:
            growing = [axis for axis in range(1, output.ndim) if other.shape[axis] != output.shape[axis]]
            if growing:
                return growing
    return []


def _local_axes(network: Network, output: Tensor, batch: Batch) -> list[int]:
    """The axes of a 1-D output at whose end alone it shows that the end of the input is another one."""
    image = batch.image(output.ndim)

    def with_other_end(item: Any) -> Any:
        return torch.cat([item[..., :-1], 1 - item[..., -1:]], -1) if _is_like(item, image) else item

    other = run(network, batch.sample().map(with_other_end))[0]
    changed = (other != output)[0]
    hits = {axis: changed.any(2 - axis) for axis in (1, 2)}
    return [axis for axis, hit in hits.items() if not hit[0] and hit[int(hit.int().argmax()) :].all() and hit.any()]


def _cancels(network: Network, read: Tensor, batch: Batch) -> bool:
    """Whether the channels sum to a constant: another input moves their sum by nothing beside what it moves them."""
    if read.dtype not in (torch.float32, torch.float64) or read.shape[1] == 1:
        return False
    sums, sizes = read.sum(1), read.abs().sum(1)
    is_even = ((sums - sums.mean()).abs() <= CANCELLATION * sizes).all() and sizes.any() and sizes.isfinite().all()
    if not is_even:
        return False
    image = batch.image(read.ndim)
    output = run(network, batch.sample().map(partial(_dimmed, image)))[0]
    moved = apply_layout(network.layout, output, network.layers[0].name) - read
    drift, change = float(moved.sum(1).abs().max()), float(moved.abs().sum(1).max())
    noise = 8 * torch.finfo(read.dtype).eps * float(sizes.max())
    return change > 100 * noise and drift <= max(ROUNDING * change, noise)


def _dimmed(image: Tensor, item: Any) -> Any:
    """An input darker in some places than in others, where it has the spatial axes of the measured one."""
    if not _is_like(item, image) or not item.is_floating_point():
        return item
    waves = torch.arange(item[0].numel(), device=item.device).cos().to(item.dtype).view(item.shape[1:])
    return item * (3 + waves) / 4
