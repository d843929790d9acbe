"""Random small networks with one to three spatial axes, for tests of properties that hold for all of them."""

import math
from dataclasses import dataclass
from fractions import Fraction

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import nn

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}

SETTINGS = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SHARES = st.tuples(*[st.floats(0, 1)] * 3)


@dataclass(frozen=True)
class RandomNet:
    """A network and its input's size; per axis, by arithmetic, its stride and its period in pixels."""

    model: nn.Module
    size: tuple
    periods: tuple
    strides: tuple

    def __repr__(self):
        return f"{self.model} on {self.size}"


class Branches(nn.ModuleList):
    def forward(self, x):
        return self[0](x) + self[1](x)


@st.composite
def random_nets(draw):
    dims = draw(st.sampled_from([1, 1, 2, 2, 2, 3]))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    def one(low, high):
        return draw(st.integers(low, high))

    size = each({1: 16, 2: 12, 3: 8}[dims], {1: 60, 2: 33, 3: 12}[dims])
    periods, strides, modules = [1] * dims, [Fraction(1)] * dims, []
    kinds = ["conv", "conv", "dilated", "max", "avg", "branches", "transposed", "upsample"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size={1: 4, 2: 4, 3: 2}[dims])):
        kernel, steps, scale = each(1, 4), (1,) * dims, 1
        if kind == "conv":
            steps = each(1, 3)
            padding = tuple(one(0, k) for k in kernel)
            modules.append(CONV[dims](2, 2, kernel, steps, padding, groups=one(1, 2)))
        elif kind == "dilated":
            modules.append(CONV[dims](2, 2, 3, padding=one(0, 4), dilation=one(2, 4)))
        elif kind in ("max", "avg"):
            pool, steps = {"max": MAX_POOL, "avg": AVG_POOL}[kind][dims], each(1, 2)
            modules.append(pool(one(2, 3), steps, one(0, 1), ceil_mode=draw(st.booleans())))
        elif kind == "branches":
            reach, dilation = one(0, 2), one(1, 3)
            wide = CONV[dims](2, 2, 2 * reach + 1, padding=dilation * reach, dilation=dilation)
            modules.append(Branches([nn.Sequential(wide, nn.ReLU()), CONV[dims](2, 2, 3, padding=1)]))
        elif kind == "transposed":
            scale = 2
            padding = tuple(one(0, (k - 1) // 2) for k in kernel)
            modules.append(TRANSPOSED[dims](2, 2, kernel, 2, padding, output_padding=one(0, 1)))
        else:
            scale = 2
            modules.append(nn.Upsample(scale_factor=2))
        for axis, step in enumerate(steps):
            units = int(periods[axis] / strides[axis])
            periods[axis] *= math.lcm(units, step) // units
            strides[axis] *= Fraction(step, scale)
    return RandomNet(nn.Sequential(*modules), size, tuple(periods), tuple(strides))
