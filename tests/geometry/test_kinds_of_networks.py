"""Layers that see everything, that fix the size of their input, or whose units differ."""

import math

import pytest
import torch
from oracle import hull
from probes import fields_of, record_passes
from random_nets import CONV
from torch import nn

from captum_erf import channels_last, theoretical_receptive_field, tokens


class SqueezeExcitation(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        x = self.conv(x)
        return x * x.mean((2, 3), keepdim=True).sigmoid()


class Attention(nn.Module):
    """A patch embedding with position encodings of fixed shape, and one layer of self-attention on the tokens."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 8, stride=8)
        self.positions = nn.Parameter(torch.randn(1, 16, 8))
        self.add = nn.Identity()
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.attention(self.add(self.embed(x).flatten(2).transpose(1, 2) + self.positions))


GLOBAL = [
    ("squeeze-excitation", SqueezeExcitation(), "", "channels_first", (3, 64, 64)),
    ("attention", Attention(), "attention", tokens(), (3, 32, 32)),
    ("group-norm", nn.Sequential(nn.Conv1d(3, 4, 3), nn.GroupNorm(2, 4)), "1", "channels_first", (3, 50)),
    ("adaptive-pool", nn.Sequential(nn.AdaptiveAvgPool2d(1)), "0", "channels_first", (3, 20, 30)),
    (
        "batch-statistics",
        nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)),
        "0",
        "channels_first",
        (3, 16, 16),
    ),
]


@pytest.mark.parametrize(
    ("model", "layer", "layout", "shape"), [case[1:] for case in GLOBAL], ids=[case[0] for case in GLOBAL]
)
def test_global_layers(model, layer, layout, shape):
    passes = record_passes(model)
    field = theoretical_receptive_field(model, layer or model, shape, (-1,) * (len(shape) - 1), layout=layout)
    size = shape[1:]
    cells = [(u + 0.5) * n / g - 0.5 for u, n, g in zip(field.position, size, field.grid, strict=True)]
    assert (field.is_global, field.is_clipped, field.outside) == (True, False, 0.0)
    assert (field.lower, field.upper) == ((0,) * len(size), size)
    assert (field.center, field.center_source) == (tuple(cells), "grid cell")
    assert len(passes) <= 16


def test_squeeze_and_excitation_at_224_takes_few_passes():
    model = SqueezeExcitation()
    passes = record_passes(model)
    assert theoretical_receptive_field(model, model, (3, 224, 224)).is_global
    assert len(passes) <= 8


def test_an_axis_may_be_global_and_the_other_not():
    class AxialMean(nn.Module):
        def forward(self, x):
            return x + x.mean(-1, keepdim=True)

    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), AxialMean())
    field = theoretical_receptive_field(net, "1", (1, 20, 24), (4, 3))
    assert (field.global_axes, field.is_global, field.center_source) == ((False, True), False, "mixed")
    assert (field.size, field.center) == ((3, 24), (4.0, 3.0))


def test_fixed_size_networks_are_clipped_at_the_border_only():
    model = Attention()
    inner = theoretical_receptive_field(model, "add", (3, 32, 32), (1, 2), layout=tokens())
    assert (inner.lower, inner.upper, inner.stride) == ((8, 16), (16, 24), (8, 8))
    assert (inner.is_clipped, inner.outside) == (False, 0.0)
    corner = theoretical_receptive_field(model, "add", (3, 32, 32), "corner", layout=tokens())
    assert (corner.lower, corner.upper) == ((0, 0), (8, 8))
    assert (corner.is_clipped, corner.outside) == (True, None)


def test_a_search_misled_by_other_units_takes_few_passes():
    class FixedWindows(nn.Module):
        def forward(self, x):
            return x.reshape(len(x), 1, 4, 56).mean(-1, keepdim=True).expand(-1, -1, -1, 56).flatten(2)

    model = FixedWindows()
    passes = record_passes(model)
    field = theoretical_receptive_field(model, model, (1, 224), (140,))
    assert (field.lower, field.upper, field.is_clipped) == ((112,), (168,), False)
    assert len(passes) <= 30


def test_a_network_that_sees_all_that_came_before_is_clipped():
    class Cumulative(nn.Module):
        def forward(self, x):
            return x.cumsum(-1)

    model = Cumulative()
    field = theoretical_receptive_field(model, model, (1, 30), (9,))
    assert (field.lower, field.upper, field.is_clipped, field.is_global) == ((0,), (10,), True, False)


def test_windows_of_adaptive_pooling_are_those_of_the_input_itself():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(4))
    field = theoretical_receptive_field(net, "0", (1, 22, 22), (1, 2))
    expected = [hull(net, (22, 22), axis, (1, 2), channels=1) for axis in (0, 1)]
    assert list(zip(field.lower, field.upper, strict=True)) == expected == [(5, 11), (11, 17)]


def test_windows_whose_boxes_differ_from_unit_to_unit():
    class WindowMean(nn.Module):
        """Adds to each unit the mean of its window of 7, the last one padded: the period is 28 pixels, not 64."""

        def forward(self, x):
            length = x.shape[-1]
            windows = nn.functional.pad(x, (0, -length % 7)).unflatten(-1, (-1, 7))
            return x + windows.mean(-1, keepdim=True).expand_as(windows).flatten(-2)[..., :length]

    net = nn.Sequential(nn.Conv1d(1, 1, 4, stride=4), WindowMean(), nn.Conv1d(1, 1, 3, padding=1))
    passes = record_passes(net)
    (fields,) = fields_of(net, ["2"], [(0,), (6,), (7,), (10,)], torch.randn(1, 1, 448))
    assert [(field.lower[0], field.upper[0]) for field in fields] == [(-28, 28), (0, 56), (0, 56), (28, 56)]
    assert len(passes) <= 40


def test_what_longer_inputs_show_counts_only_where_it_is_no_less():
    class Narrowing(nn.Module):
        """Sees 8 pixels to either side of an input of 64 pixels, and fewer of a longer one."""

        def forward(self, x):
            reach = 512 // x.shape[-1]
            return nn.functional.avg_pool1d(x, 2 * reach + 1, 1, reach)

    model = Narrowing()
    ((center, corner),) = fields_of(model, [model], ["center", "corner"], torch.randn(1, 1, 64))
    assert (center.lower, center.upper, center.is_clipped) == ((24,), (41,), False)
    assert (corner.lower, corner.upper, corner.is_clipped) == ((0,), (9,), True)


def test_a_thin_input_that_the_units_do_not_see_is_not_used():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, stride=(1, 2), padding=(0, 1)), nn.Conv2d(1, 1, 3, padding=1))
    field = theoretical_receptive_field(net, "1", (1, 12, 12), "corner", layout=lambda output: output)
    assert (field.lower, field.upper, field.is_clipped) == ((-1, -3), (2, 2), False)


def test_a_thin_input_whose_tokens_fold_otherwise_is_not_used():
    def layout(output):
        return output.unflatten(2, (math.isqrt(output.shape[2]), -1))

    net = nn.Sequential(nn.Conv2d(1, 6, 4, stride=4), nn.Flatten(2))
    field = theoretical_receptive_field(net, "1", (1, 64, 64), layout=layout)
    assert (field.grid, field.lower, field.upper) == ((16, 16), (32, 32), (36, 36))


def test_a_path_that_thin_inputs_do_not_have_is_still_found():
    class Diagonal(nn.Module):
        def forward(self, x):
            return x + nn.functional.pad(x, (5, 0, 3, 0))[..., :-3, :-5]

    model = Diagonal()
    field = theoretical_receptive_field(model, model, (1, 32, 32))
    assert (field.lower, field.upper) == ((13, 11), (17, 17))


def test_a_wrapped_border_is_seen_from_the_corner():
    net = nn.Sequential(nn.Conv2d(1, 1, (3, 1), padding=(1, 0), padding_mode="circular"))
    ((corner, center),) = fields_of(net, ["0"], ["corner", "center"], torch.randn(1, 1, 16, 16))
    assert (corner.lower[0] <= 0, corner.upper, corner.is_clipped) == (True, (16, 1), True)
    assert (center.lower, center.upper, center.is_clipped) == ((7, 8), (10, 9), False)


def test_a_norm_that_makes_nan_of_one_pixel_is_probed_on_wider_inputs():
    class LocalNorm(nn.Module):
        def forward(self, x):
            return x / x.std(-1, keepdim=True)

    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), LocalNorm())
    field = theoretical_receptive_field(net, "1", (1, 20, 20))
    assert (field.global_axes, field.size) == ((False, True), (3, 20))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_shapes_are_probed_in_the_precision_of_the_network(dtype):
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.GELU(), nn.Conv2d(2, 2, 3, padding=1)).to(dtype)
    assert theoretical_receptive_field(net, "2", (1, 16, 16)).size == (5, 5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2, 1), (2, 3, 5, 1)], ids=str)
def test_tiny_inputs(shape):
    dims = len(shape) - 1
    net = nn.Sequential(CONV[dims](shape[0], 1, 3, padding=1), CONV[dims](1, 1, 3, padding=1))
    field = theoretical_receptive_field(net, "1", shape)
    assert (field.size, field.stride, field.is_clipped) == ((5,) * dims, (1,) * dims, False)


def test_channels_last_outputs():
    class Last(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    net = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), Last())
    assert theoretical_receptive_field(net, "1", (1, 16, 16), layout=channels_last).size == (3, 3)


def test_a_unit_that_sees_around_the_border_is_centred_on_its_own_cell():
    wrap = {"padding": 2, "padding_mode": "circular"}
    model = nn.Sequential(nn.Conv1d(1, 1, 5, **wrap), nn.Conv1d(1, 1, 5, **wrap))
    corner, center = (theoretical_receptive_field(model, "1", (1, 64), place) for place in ("corner", "center"))
    assert (corner.is_clipped, corner.center, corner.center_source) == (True, (0.0,), "grid cell")
    assert (center.is_clipped, center.center, center.center_source) == (False, (32.0,), "theoretical")
