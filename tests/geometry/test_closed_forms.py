"""Theoretical receptive fields against closed forms."""

import math

import pytest
import torch
from oracle import hull
from probes import fields_of, last, record_passes
from random_nets import CONV
from torch import nn

from captum_erf import theoretical_receptive_field, theory


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("chain", [[(3, 1, 1)] * 5, [(7, 2, 1), (3, 2, 1), (3, 1, 2)], [(3, 1, 4), (3, 1, 1)]])
def test_a_chain_of_convolutions_has_the_size_of_theory(dims, chain):
    convs = [CONV[dims](1, 1, k, s, padding=d * (k // 2), dilation=d) for k, s, d in chain]
    field = theoretical_receptive_field(nn.Sequential(*convs), str(len(chain) - 1), (1, *[20] * dims))
    assert field.size == (theory.theoretical_size(chain),) * dims
    assert field.stride == (math.prod(s for _, s, _ in chain),) * dims


def test_a_dilated_pair_is_11_wide():
    net = nn.Sequential(nn.Conv2d(1, 1, 3, dilation=4, padding=4), nn.Conv2d(1, 1, 3, padding=1))
    assert theoretical_receptive_field(net, "1", (1, 64, 64)).size == (11, 11)


def test_down_and_up_again_is_5_wide():
    net = nn.Sequential(
        nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.ConvTranspose2d(1, 1, 2, stride=2), nn.Conv2d(1, 1, 3, padding=1)
    )
    field = theoretical_receptive_field(net, "2", (1, 32, 32))
    assert (field.size, field.stride) == ((5, 5), (1, 1))
    assert hull(net, (32, 32), 0, field.position, channels=1) == (field.lower[0], field.upper[0])


def test_the_stride_of_an_upsampled_grid_is_a_fraction():
    net = nn.Sequential(nn.Upsample(scale_factor=4), nn.Conv2d(1, 1, 3, padding=1))
    field = theoretical_receptive_field(net, "1", (1, 16, 16), (0, 5))
    assert (field.stride, field.grid, field.size) == ((0.25, 0.25), (64, 64), (2, 1))
    assert (field.lower, field.upper) == ((-1, 1), (1, 2))


def test_growth_that_is_even_by_rounding_gives_no_stride():
    net = nn.Sequential(
        nn.Conv1d(1, 1, 2, stride=3), nn.ConvTranspose1d(1, 1, 1, stride=2), nn.Upsample(scale_factor=4)
    )
    field = theoretical_receptive_field(net, "2", (1, 26), (0,))
    assert (field.lower, field.upper, field.stride) == ((0,), (2,), (3 / 8,))


def test_axes_may_differ():
    net = nn.Sequential(nn.Conv2d(1, 1, (1, 7), stride=(1, 3), padding=(0, 3)), nn.Conv2d(1, 1, (5, 1), padding=(2, 0)))
    field = theoretical_receptive_field(net, "1", (1, 40, 40))
    assert (field.size, field.stride) == ((5, 7), (1, 3))


def test_reflected_borders_leave_the_box_unclipped():
    net = nn.Sequential(nn.Conv2d(1, 1, 5, padding=2, padding_mode="reflect"))
    field = theoretical_receptive_field(net, "0", (1, 24, 24), "corner")
    assert (field.lower, field.upper, field.is_clipped) == ((-2, -2), (3, 3), False)


def test_pixels_that_no_patch_covers_do_not_shrink_a_box_at_the_border():
    net = nn.Sequential(nn.Conv2d(1, 1, 4, stride=4), nn.Conv2d(1, 1, 5, padding=2))
    field = theoretical_receptive_field(net, "1", (1, 34, 34), (-1, -1))
    assert (field.grid, field.lower, field.upper) == ((8, 8), (20, 20), (40, 40))


def test_gaps_at_the_border_do_not_shrink_a_box():
    net = nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2, padding=1))
    field = theoretical_receptive_field(net, "0", (1, 12, 12), "corner")
    assert (field.lower, field.upper) == ((-1, -1), (4, 4))


def test_a_field_much_larger_than_the_input_is_found():
    layers = [*(nn.Conv2d(1, 1, 3, 2, 1) for _ in range(5)), *(nn.Conv2d(1, 1, 3, padding=1) for _ in range(4))]
    field = theoretical_receptive_field(nn.Sequential(*layers), "8", (1, 64, 64))
    assert (field.size, field.stride, field.is_global) == ((319, 319), (32, 32), False)


def test_an_even_box_projects_between_pixels():
    net = nn.Sequential(nn.Conv1d(1, 1, 4, stride=4))
    field = theoretical_receptive_field(net, "0", (1, 32))
    assert (field.position, field.center) == ((4,), (17.5,))


def conv(kernel, stride=1, padding=0, dilation=1):
    return nn.Conv1d(1, 1, kernel, stride, padding, dilation)


@pytest.mark.parametrize(
    ("layers", "length", "box"),
    [
        ([conv(3, 1, 1), conv(3, 1, 80, 80)], 64, (-49, 114)),
        ([conv(3, 1, 300, 300)], 64, (-268, 333)),
        ([conv(3, 2, 1), conv(3, 2, 1), conv(3, 2, 1), conv(3, 1, 36, 36), conv(3, 1, 1)], 224, (-191, 416)),
        ([nn.ConstantPad1d((90, 0), 0.0), conv(2, 1, 0, 90)], 64, (-58, 33)),
    ],
    ids=["both taps outside", "further than the input is long", "atrous pooling", "causal"],
)
def test_taps_of_dilated_kernels_outside_the_input_count(layers, length, box):
    field = theoretical_receptive_field(nn.Sequential(*layers), f"{len(layers) - 1}", (1, length))
    assert (field.lower, field.upper, field.is_clipped) == ((box[0],), (box[1],), False)


def test_taps_outside_the_input_are_found_axis_by_axis():
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=(1, 80), dilation=(1, 80)))
    field = theoretical_receptive_field(model, "1", (1, 64, 64))
    assert (field.lower, field.upper, field.is_clipped) == ((30, -49), (35, 114), False)


@pytest.mark.parametrize(
    ("layers", "length", "stride", "corner"),
    [
        ([conv(1024, 441, 512), conv(3, 1, 1)], 44100, 441, (-953, 953)),
        ([conv(11, 11), conv(3, 1, 1)], 121, 11, (-11, 22)),
        ([conv(13, 13), conv(3, 1, 1)], 230, 13, (-13, 26)),
        ([*(conv(3, 3) for _ in range(4)), conv(3, 1, 1)], 6561, 81, (-81, 162)),
        ([conv(13, 13, 6), conv(17, 17, 8), conv(3, 1, 1)], 5000, 221, (-331, 332)),
    ],
    ids=["spectrogram hop", "patch of 11", "patch of 13 that does not fit", "strides of 3", "13 times 17"],
)
def test_strides_of_every_kind(layers, length, stride, corner):
    field = theoretical_receptive_field(nn.Sequential(*layers), f"{len(layers) - 1}", (1, length), "corner")
    assert (field.stride, field.lower, field.upper) == ((stride,), (corner[0],), (corner[1],))
    assert (field.is_clipped, field.center) == (False, ((corner[0] + corner[1] - 1) / 2,))


class Causal(nn.Conv1d):
    """A strided convolution over the past, reflected at its start, as audio codecs have it."""

    def forward(self, x):
        padding = self.kernel_size[0] - self.stride[0]
        return super().forward(nn.functional.pad(x, (padding, 0), mode="reflect"))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_long_inputs_of_one_axis_cost_few_of_their_passes(depth):
    chain = [(2 * s, s, 1) for s in (2, 4, 5, 8)][:depth]
    convolutions = [Causal(1 if i == 0 else 4, 4, k, stride=s) for i, (k, s, _) in enumerate(chain)]
    model = nn.Sequential(*[module for convolution in convolutions for module in (convolution, nn.ELU())])
    passes = record_passes(model)
    ((field,),) = fields_of(model, [last(model)], ["center"], torch.randn(1, 1, 9600))
    stride, size = math.prod(s for _, s, _ in chain), theory.theoretical_size(chain)
    upper = (field.grid[0] // 2 + 1) * stride
    assert (field.lower, field.upper, field.stride) == ((upper - size,), (upper,), (stride,))
    assert sum(samples * length for samples, _, length in passes) <= 9 * 9600
