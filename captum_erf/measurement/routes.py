"""One batch of inputs -> the sample maps of every layer and position, by the cheapest exact route.

Units that see most of the input share one forward pass over the whole of it, stopped after the deepest layer. The
others run on windows alone; equal windows are stacked into one batch. A window is used only after one sample,
computed both ways, has come out the same.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..geometry.field import TheoreticalReceptiveField, probe
from ..geometry.region import Region
from ..geometry.windows import Window, field_ends, field_inside, find_window, larger_windows
from ..network.gradient import Magnitude, Network, gradients_enabled, sample_maps, unit_gradients
from ..network.layers import is_batch, mixes_samples, unchanged
from ..network.layouts import apply_layout
from ..network.passes import layer_outputs
from ..network.units import Channel, NeuronSelector, Position, Reader, Selected, Units
from ..result.sums import finite_samples

SELF_CHECK_TOLERANCE = 1e-4  # of a map's maximum
CACHE_SIZE = 64  # input shapes and states of the weights


@dataclass(frozen=True)
class Target:
    """One unit of one layer, and how it is measured: on a window, or on the whole input for a stated reason."""

    place: int
    position: Position
    theoretical: TheoreticalReceptiveField | None
    window: Window | str


@dataclass(frozen=True)
class SampleMaps:
    """Sample maps ``(N, *shape)`` over the part of the input that starts at ``offset``; zero elsewhere."""

    values: Tensor
    offset: tuple[int, ...]


@dataclass(frozen=True)
class Measurement:
    """All that the maps of a batch depend on, but the batch."""

    network: Network
    positions: tuple[Position, ...] = ("center",)
    channel: Channel = None
    neuron_selector: NeuronSelector | None = None
    magnitude: Magnitude = "abs"
    window: str | bool = "auto"
    autocast: torch.dtype | None = None
    eval_mode: bool = True
    input_index: int = 0
    cache: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Gradients are on, modules in the wanted mode; everything is as before afterwards."""
        with gradients_enabled(), unchanged(self.network.modules, eval_mode=self.eval_mode):
            yield

    def targets(self, inputs: tuple[Any, ...], arguments: tuple[Any, ...]) -> list[Target]:
        """The units to measure in inputs like these, layer by layer, position by position."""
        inputs, arguments = self._one_sample(inputs, arguments)
        fields = self._fields(inputs, arguments)
        refusal = self._refusal(inputs, arguments)
        targets = [
            Target(place, position, theoretical, refusal or _window(theoretical))
            for place, row in enumerate(fields)
            for position, theoretical in zip(self.positions, row, strict=True)
        ]
        return self._checked(targets, inputs, arguments)

    def maps(self, targets: Sequence[Target], inputs: tuple[Any, ...], arguments: tuple[Any, ...]) -> list[SampleMaps]:
        """Sample maps of the targets, in their order; NaN for samples that are not finite themselves."""
        found: dict[int, SampleMaps] = {}
        whole = [number for number, target in enumerate(targets) if isinstance(target.window, str)]
        if whole:
            found.update(self._whole(targets, whole, inputs, arguments))
        windowed = [number for number in range(len(targets)) if number not in found]
        for stack in _stacks(targets, windowed, inputs[self.input_index]):
            found.update(self._windowed(targets, stack, inputs[self.input_index]))
        finite = finite_samples(inputs[self.input_index])
        if not finite.all():
            for maps in found.values():
                maps.values[~finite] = math.nan
        return [found[number] for number in range(len(targets))]

    def warn_of_wrong_fields(self, targets: Sequence[Target], maps: Sequence[SampleMaps]) -> None:
        """Warns where a map reaches outside the unit's theoretical field, which NaN has then found too small."""
        if self.neuron_selector is not None or callable(self.magnitude) or not self.eval_mode:
            return
        for target, found in zip(targets, maps, strict=True):
            if isinstance(target.window, str) and target.theoretical and _reaches_outside(target.theoretical, found):
                warnings.warn(
                    f"The gradient of layer {self.network.layers[target.place].name!r} reaches outside its theoretical "
                    "field: something in the network swallows NaN, as torch.where and nan_to_num do, so that the field "
                    "was found too small. The map is right; the field, and what depends on it, is not.",
                    stacklevel=2,
                )

    def _whole(
        self,
        targets: Sequence[Target],
        numbers: list[int],
        inputs: tuple[Any, ...],
        arguments: tuple[Any, ...],
    ) -> Iterator[tuple[int, SampleMaps]]:
        places = sorted({targets[number].place for number in numbers})
        rows = [[number for number in numbers if targets[number].place == place] for place in places]
        readers = [[self._reader(targets[number]) for number in row] for row in rows]
        network = replace(self.network, layers=tuple(self.network.layers[place] for place in places))
        offset = (0,) * (inputs[self.input_index].ndim - 2)
        for row, column, gradients in unit_gradients(network, readers, inputs, arguments, autocast=self.autocast):
            gradient = gradients[self.input_index]
            if gradient is None:
                gradient = torch.zeros_like(inputs[self.input_index])
            yield rows[row][column], SampleMaps(sample_maps(gradient, self.magnitude), offset)

    def _windowed(
        self, targets: Sequence[Target], stack: list[tuple[int, Window]], inputs: Tensor
    ) -> Iterator[tuple[int, SampleMaps]]:
        layer = self.network.layers[targets[stack[0][0]].place]
        crops = torch.cat([inputs[Region(window.offset, window.shape).index] for _, window in stack])
        reader = Units(tuple(window.index for _, window in stack), self.channel)
        network = replace(self.network, layers=(layer,))
        for _, _, (gradient,) in unit_gradients(network, [[reader]], (crops,), autocast=self.autocast):
            parts = (gradient if gradient is not None else torch.zeros_like(crops)).chunk(len(stack))
            for (number, window), part in zip(stack, parts, strict=True):
                yield number, self._window_maps(part, window.offset, inputs)

    def _window_maps(self, gradient: Tensor, offset: tuple[int, ...], inputs: Tensor) -> SampleMaps:
        if not callable(self.magnitude):
            return SampleMaps(sample_maps(gradient, self.magnitude), offset)
        whole = _placed(gradient, offset, inputs.shape[2:])
        return SampleMaps(sample_maps(whole, self.magnitude), (0,) * len(offset))

    def _reader(self, target: Target) -> Reader:
        if self.neuron_selector is not None:
            return Selected(self.neuron_selector)
        position = target.position if target.theoretical is None else target.theoretical.position
        return Units((position,), self.channel)

    def _fields(
        self, inputs: tuple[Any, ...], arguments: tuple[Any, ...]
    ) -> list[list[TheoreticalReceptiveField | None]]:
        if len(inputs) > 1 or arguments:
            return self._probed(inputs, arguments)
        key = ("fields", self.positions, tuple(inputs[0].shape[1:]), self._settings())
        if key not in self.cache:
            self._remember(key, self._probed(inputs, arguments))
        found: list[list[TheoreticalReceptiveField | None]] = self.cache[key]
        return found

    def _remember(self, key: Any, value: Any) -> None:
        while len(self.cache) >= CACHE_SIZE:
            del self.cache[next(iter(self.cache))]
        self.cache[key] = value

    def _probed(self, inputs: tuple[Any, ...], arguments: tuple[Any, ...]) -> list[list[Any]]:
        network = self.network
        try:
            return probe(
                network.forward_func,
                network.layers,
                self.positions,
                inputs,
                layout=network.layout,
                additional_forward_args=arguments,
                input_index=self.input_index,
            )
        except (ValueError, TypeError):
            if self.neuron_selector is None:
                raise
            if len(network.layers) == 1:
                return [[None] * len(self.positions)]
        alone = [replace(self, network=replace(network, layers=(layer,))) for layer in network.layers]
        return [row for measurement in alone for row in measurement._probed(inputs, arguments)]

    def _one_sample(
        self, inputs: tuple[Any, ...], arguments: tuple[Any, ...]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """One sample to set up with: the first that is finite, or the first one with zeros where it is not."""
        measured = inputs[self.input_index]
        number = int(finite_samples(measured).int().argmax())
        one = [_sample(item, number, len(measured)) for item in (*inputs, *arguments)]
        return tuple(map(_finite, one[: len(inputs)])), tuple(one[len(inputs) :])

    def _settings(self) -> tuple[Any, ...]:
        """Differs after a module or one of its settings has been changed, with which the fields may change too."""
        return tuple(
            (id(module), type(module), *(item for item in vars(module).items() if _is_plain(item[1])))
            for module in self.network.modules
        )

    def _weights(self) -> tuple[tuple[int, int], ...]:
        """Differs after the weights have changed, with which what a window shows may change too."""
        modules = self.network.modules
        tensors = [item for module in modules for item in (*module._parameters.values(), *module._buffers.values())]
        return tuple(
            (item.data_ptr(), 0 if item.is_inference() else item._version) for item in tensors if item is not None
        )

    def _refusal(self, inputs: tuple[Any, ...], arguments: tuple[Any, ...]) -> str:
        reasons = {
            "window=False": self.window is False,
            "a neuron selector is used": self.neuron_selector is not None,
            "the network takes several inputs": len(inputs) > 1,
            "the network takes additional arguments": len(arguments) > 0,
            "normalisation mixes the samples": bool(mixes_samples(self.network.modules)),
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def _checked(self, targets: list[Target], inputs: tuple[Any, ...], arguments: tuple[Any, ...]) -> list[Target]:
        key = ("verdicts", tuple(inputs[self.input_index].shape), self.eval_mode, self._settings(), self._weights())
        if key not in self.cache:
            self._remember(key, {})
        verdicts = self.cache[key]
        unknown = [target for target in targets if isinstance(target.window, Window) and target not in verdicts]
        if unknown:
            # cuDNN's TF32 differs by more than the tolerance, and NNPACK's kernels spread NaN.
            with torch.backends.cudnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
                verdicts.update(self._verdicts(unknown, inputs, arguments))
        return [replace(target, window=verdicts.get(target, target.window)) for target in targets]

    def _verdicts(
        self, targets: list[Target], inputs: tuple[Any, ...], arguments: tuple[Any, ...]
    ) -> Iterator[tuple[Target, Window | str]]:
        """Every target with the window whose map equals the whole input's, or why there is none."""
        plain = replace(self, channel=_every_channel, magnitude="abs", autocast=None)
        whole = plain.maps([replace(target, window="self-check") for target in targets], inputs, arguments)
        for target, reference in zip(targets, whole, strict=True):
            yield target, plain._fitted_window(target, inputs, reference.values)

    def _fitted_window(self, target: Target, inputs: tuple[Any, ...], reference: Tensor) -> Window | str:
        """The smallest window in which the unit sees its very field, where its map equals the reference."""
        reason = ""
        assert target.theoretical is not None
        for window in larger_windows(target.theoretical):
            try:
                (found,) = self.maps([replace(target, window=window)], inputs, ())
                if self._sees_its_field(target, window, inputs[0], found):
                    return _difference(found, reference) or window
                reason = "the unit sees another part of the input in the window"
            except Exception as error:
                reason = f"the network does not take the window: {error}"
        return reason

    def _sees_its_field(self, target: Target, window: Window, sample: Tensor, found: SampleMaps) -> bool:
        """Whether the unit sees none of the window around its field, and something at each of the field's ends.

        What a map does not show, NaN does: it reaches the unit from wherever the unit sees.
        """
        assert target.theoretical is not None
        crop = sample[Region(window.offset, window.shape).index]
        around = torch.full_like(crop, math.nan)
        inside = field_inside(target.theoretical, window)
        around[inside] = crop[inside]
        at_ends = []
        for end in field_ends(target.theoretical, window):
            if not found.values[end].any():
                at_ends.append(crop.clone())
                at_ends[-1][end] = math.nan
        layer = self.network.layers[target.place]
        with torch.no_grad():
            outputs = layer_outputs(self.network.forward_func, (layer,), (torch.cat([around, *at_ends]),))
        index: tuple[Any, ...] = (slice(None), slice(None), *window.index)
        units = apply_layout(self.network.layout, outputs[0], layer.name)[index]
        reached: list[bool] = units.isnan().any(1).tolist()
        return reached == [False, *[True] * len(at_ends)]


def _is_plain(setting: Any) -> bool:
    parts = setting if isinstance(setting, tuple) else (setting,)
    return all(part is None or isinstance(part, (int, float, str)) for part in parts)


def _reaches_outside(theoretical: TheoreticalReceptiveField, maps: SampleMaps) -> bool:
    inside = [slice(max(low, 0), max(high, 0)) for low, high in zip(theoretical.lower, theoretical.upper, strict=True)]
    outside = maps.values.detach().abs()
    peak = float(outside.max())
    outside[(slice(None), *inside)] = 0
    return float(outside.max()) > SELF_CHECK_TOLERANCE * peak


def _window(theoretical: TheoreticalReceptiveField | None) -> Window | str:
    return "the layer has no grid" if theoretical is None else find_window(theoretical)


def _every_channel(values: Tensor) -> Tensor:
    """A scalar in which no channels cancel, and whose gradient shows where a unit's values differ."""
    weights = torch.arange(values.shape[1], device=values.device).cos().to(values.dtype)
    peak = values.detach().abs().amax(1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    return (weights * values * (1 + values / (4 * peak))).sum(1)


def _sample(item: Any, number: int, samples: int) -> Any:
    return item[number : number + 1] if is_batch(item, samples) else item


def _finite(item: Any) -> Any:
    floating = isinstance(item, Tensor) and item.is_floating_point()
    return torch.nan_to_num(item.detach(), 0.0, 0.0, 0.0) if floating else item


def _placed(part: Tensor, offset: tuple[int, ...], size: Sequence[int]) -> Tensor:
    """The part at its place in the whole input, with zeros elsewhere."""
    whole = part.new_zeros(*part.shape[: -len(size)], *size)
    whole[Region(offset, tuple(part.shape[-len(size) :])).index] = part
    return whole


def _difference(part: SampleMaps, reference: Tensor) -> str:
    """Why the window may not be used; nothing where it may."""
    placed = _placed(part.values, part.offset, reference.shape[1:])
    peak = float(reference.max())
    if peak == 0.0:
        return "the first sample does not activate the unit, so the window could not be checked"
    difference = float((placed - reference).abs().max()) / peak
    if difference <= SELF_CHECK_TOLERANCE:
        return ""
    return f"the window's map differs from the whole input's by {difference:.1e} of its maximum"


def _stacks(targets: Sequence[Target], numbers: list[int], inputs: Tensor) -> Iterator[list[tuple[int, Window]]]:
    """Windows of one layer and one shape, as many at a time as cover no more than the input itself."""
    alike: dict[tuple[int, tuple[int, ...]], list[tuple[int, Window]]] = {}
    for number in numbers:
        window = targets[number].window
        assert isinstance(window, Window)
        alike.setdefault((targets[number].place, window.shape), []).append((number, window))
    for (_, shape), group in alike.items():
        fitting = max(1, math.prod(inputs.shape[2:]) // math.prod(shape))
        for first in range(0, len(group), fitting):
            yield group[first : first + fitting]
