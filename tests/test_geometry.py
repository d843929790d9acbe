"""Boxes against published sizes, closed forms and brute force."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_erf import theoretical_receptive_field
from captum_erf.geometry import probe
from captum_erf.layers import find_layers

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


# ---------------------------------------------------------------- published models

MODELS = [
    ("resnet18", {"layer1": 43, "layer2": 99, "layer3": 211, "layer4": 435}),
    ("resnet50", {"layer1": 35, "layer2": 91, "layer3": 267, "layer4": 427}),
    ("vgg16", {"features.30": 212}),
    ("densenet121", {"features.denseblock1": 59}),
    ("convnext_tiny", {"features.1": 76}),
    ("mobilenet_v2", {"features.3": 19}),
    ("googlenet", {"inception3a": 43, "inception4a": 107}),
]


@pytest.mark.parametrize(("name", "sizes"), MODELS, ids=[name for name, _ in MODELS])
def test_sizes_of_torchvision_models_at_224(name: str, sizes: dict[str, int]) -> None:
    settings_ = {"init_weights": False} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, **settings_)
    passes = _count_passes(model)
    fields = probe(model, find_layers(model, list(sizes)), ["center"], torch.randn(1, 3, 224, 224))
    assert [field.size for (field,) in fields] == [(size, size) for size in sizes.values()]
    assert not any(field.is_clipped or field.is_global for (field,) in fields)
    assert len(passes) <= 20
    assert max(math.prod(shape[2:]) for shape in passes) <= 2 * 224 * 224


def test_layer4_of_resnet18() -> None:
    model = torchvision.models.resnet18(weights=None)
    layers = find_layers(model, ["layer4"])
    ((center, corner),) = probe(model, layers, ["center", "corner"], torch.randn(1, 3, 224, 224))
    assert center.grid == (7, 7)
    assert (center.position, center.center, center.stride) == ((3, 3), (96.0, 96.0), (32, 32))
    assert (center.lower, center.upper) == ((96 - 217,) * 2, (96 + 218,) * 2)
    assert center.outside == pytest.approx(1 - (224 / 435) ** 2)
    assert (corner.center, corner.size) == ((0.0, 0.0), (435, 435))
    assert [upper - max(lower, 0) for lower, upper in zip(corner.lower, corner.upper, strict=True)] == [218, 218]


def _count_passes(model: nn.Module) -> list[tuple[int, ...]]:
    passes: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(lambda _module, args: passes.append(tuple(args[0].shape)))
    return passes


# ---------------------------------------------------------------- brute force


def _hull(model: nn.Module, size: tuple[int, ...], axis: int, unit: tuple[int, ...]) -> tuple[int, int] | None:
    """First and last-but-one position along an axis of the slabs whose NaN reaches a unit, in double precision."""
    batch = torch.zeros(size[axis], 2, *size, dtype=torch.float64)
    for position, image in enumerate(batch):
        image.select(axis + 1, position).fill_(math.nan)
    with torch.no_grad():
        output = model.double()(batch)
    model.float()
    seen = output[(slice(None), slice(None), *unit)].isnan().any(1).nonzero()
    return (int(seen[0]), int(seen[-1]) + 1) if len(seen) else None


@dataclass(frozen=True)
class RandomNet:
    """A network, the size of its input, and per axis the period (in pixels) and the stride, by arithmetic."""

    model: nn.Module
    size: tuple[int, ...]
    periods: tuple[int, ...]
    strides: tuple[Fraction, ...]

    def __repr__(self) -> str:
        return f"{self.size} {self.model}"


class Branches(nn.ModuleList):
    def forward(self, x: Tensor) -> Tensor:
        return sum((branch(x) for branch in self), start=torch.zeros(()))


def _same(dims: int, kernel: int, dilation: int) -> nn.Module:
    return CONV[dims](2, 2, 2 * kernel + 1, padding=dilation * kernel, dilation=dilation)


@st.composite
def random_nets(draw: st.DrawFn) -> RandomNet:
    dims = draw(st.sampled_from([1, 1, 2, 2, 2, 3]))

    def per_axis(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    size = tuple(draw(st.integers({1: 16, 2: 12, 3: 8}[dims], {1: 60, 2: 33, 3: 14}[dims])) for _ in range(dims))
    periods, strides, modules = [1] * dims, [Fraction(1)] * dims, []
    kinds = ["conv", "conv", "dilated", "max", "avg", "branches", "transposed", "upsample"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4 if dims < 3 else 3)):
        steps, grow = (1,) * dims, 1
        if kind == "conv":
            kernel, steps = per_axis(1, 4), per_axis(1, 3)
            padding = tuple(draw(st.integers(0, k)) for k in kernel)
            modules.append(CONV[dims](2, 2, kernel, steps, padding, groups=draw(st.integers(1, 2))))
        elif kind == "dilated":
            modules.append(CONV[dims](2, 2, 3, 1, padding=draw(st.integers(0, 4)), dilation=draw(st.integers(2, 4))))
        elif kind == "max":
            kernel, steps = per_axis(2, 3), per_axis(1, 2)
            modules.append(MAX_POOL[dims](kernel, steps, draw(st.integers(0, 1)), ceil_mode=draw(st.booleans())))
        elif kind == "avg":
            kernel, steps = per_axis(2, 3), per_axis(1, 2)
            modules.append(AVG_POOL[dims](kernel, steps, draw(st.integers(0, 1)), ceil_mode=draw(st.booleans())))
        elif kind == "branches":
            paths = [_same(dims, draw(st.integers(0, 2)), draw(st.integers(1, 3))) for _ in range(2)]
            modules.append(Branches([nn.Sequential(paths[0], nn.ReLU()), paths[1]]))
        elif kind == "transposed":
            kernel, grow = per_axis(1, 4), 2
            padding = tuple(draw(st.integers(0, (k - 1) // 2)) for k in kernel)
            modules.append(TRANSPOSED[dims](2, 2, kernel, 2, padding, output_padding=draw(st.integers(0, 1))))
        else:
            grow = 2
            modules.append(nn.Upsample(scale_factor=2, mode="nearest"))
        for axis, step in enumerate(steps):
            units = int(periods[axis] / strides[axis])
            periods[axis] *= math.lcm(units, step) // units
            strides[axis] *= Fraction(step, grow)
    return RandomNet(nn.Sequential(*modules), size, tuple(periods), tuple(strides))


def _check_against_brute_force(net: RandomNet, share: tuple[float, ...]) -> None:
    try:
        grid = net.model(torch.zeros(1, 2, *net.size)).shape[2:]
    except RuntimeError:
        return
    position = share[: len(net.size)]
    unit = tuple(round(s * (length - 1)) for s, length in zip(position, grid, strict=True))
    own = [_hull(net.model, net.size, axis, unit) for axis in range(len(net.size))]
    last = str(len(net.model) - 1)
    if None in own:
        with pytest.raises(ValueError, match="no influence"):
            theoretical_receptive_field(net.model, last, (2, *net.size), position)
        return
    field = theoretical_receptive_field(net.model, last, (2, *net.size), position)
    assert (field.grid, field.position) == (grid, unit)
    for axis, seen in enumerate(own):
        assert seen is not None
        box = field.lower[axis], field.upper[axis]
        period, stride = net.periods[axis], net.strides[axis]
        if not any(pixels % period == 0 for pixels in (64, 192)):
            assert (max(box[0], 0), min(box[1], net.size[axis])) == seen
            continue
        shift = math.ceil(60 / period) * period
        size = tuple(n + 2 * shift * (a == axis) for a, n in enumerate(net.size))
        there = tuple(u + int(shift / stride) * (a == axis) for a, u in enumerate(unit))
        whole = _hull(net.model, size, axis, there)
        assert whole is not None
        assert 0 < whole[0] <= seen[0] + shift
        assert seen[1] + shift <= whole[1] < size[axis]
        assert (*box, field.stride[axis]) == (whole[0] - shift, whole[1] - shift, stride)


CHECK = settings(deadline=None, derandomize=False, suppress_health_check=list(HealthCheck))


@settings(CHECK, max_examples=30)
@given(random_nets(), st.tuples(*[st.floats(0, 1)] * 3))
def test_box_is_that_of_brute_force(net: RandomNet, share: tuple[float, ...]) -> None:
    _check_against_brute_force(net, share)


@pytest.mark.slow
@settings(CHECK, max_examples=300)
@given(random_nets(), st.tuples(*[st.floats(0, 1)] * 3))
def test_box_is_that_of_brute_force_on_many_networks(net: RandomNet, share: tuple[float, ...]) -> None:
    _check_against_brute_force(net, share)
