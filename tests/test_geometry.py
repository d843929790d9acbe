"""Theoretical receptive fields against published sizes, closed forms and brute force."""

import json
import math
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from random_nets import CONV, SETTINGS, SHARES, random_nets
from torch import nn
from torchvision import models

from captum_erf import TheoreticalReceptiveField, channels_last, theoretical_receptive_field, theory, tokens
from captum_erf.geometry.field import probe
from captum_erf.network.layers import find_layers


def record_passes(model):
    """The shapes of the inputs of all passes through a model, as they come."""
    shapes = []
    model.register_forward_pre_hook(lambda _module, args: shapes.append(tuple(args[0].shape)))
    return shapes


def last(model):
    return str(len(model) - 1)


# Published models


def vgg16():
    return nn.Sequential(OrderedDict(features=models.vgg.make_layers(models.vgg.cfgs["D"])))


def googlenet():
    return models.googlenet(weights=None, init_weights=False)


PUBLISHED = [
    (models.resnet18, {"layer1": 43, "layer2": 99, "layer3": 211, "layer4": 435}),
    (models.resnet50, {"layer1": 35, "layer2": 91, "layer3": 267, "layer4": 427}),
    (vgg16, {"features.30": 212}),
    (models.densenet121, {"features.denseblock1": 59}),
    (models.convnext_tiny, {"features.1": 76}),
    (models.mobilenet_v2, {"features.3": 19}),
    (googlenet, {"inception3a": 43, "inception4a": 107}),
]


@pytest.mark.parametrize(("build", "sizes"), PUBLISHED, ids=[build.__name__ for build, _ in PUBLISHED])
def test_published_models_at_224_in_few_passes(build, sizes):
    model = build()
    passes = record_passes(model)
    fields = probe(model, find_layers(model, list(sizes)), ["center"], torch.randn(1, 3, 224, 224))
    assert [field.size for (field,) in fields] == [(size, size) for size in sizes.values()]
    assert not any(field.is_clipped or field.is_global for (field,) in fields)
    assert len(passes) <= 20
    assert max(math.prod(shape[2:]) for shape in passes) <= 2 * 224 * 224


def test_units_of_resnet18_layer4():
    model = models.resnet18()
    sample = torch.randn(1, 3, 224, 224)
    ((center, corner),) = probe(model, find_layers(model, ["layer4"]), ["center", "corner"], sample)
    assert (center.grid, center.position, center.stride) == ((7, 7), (3, 3), (32, 32))
    assert (center.center, center.center_source) == ((96.0, 96.0), "theoretical")
    assert (center.lower, center.upper) == ((96 - 217,) * 2, (96 + 218,) * 2)
    assert center.outside == pytest.approx(1 - (224 / 435) ** 2)
    assert (corner.center, corner.size) == ((0.0, 0.0), (435, 435))
    assert corner.upper == (218, 218)
    assert corner.outside == pytest.approx(1 - (218 / 435) ** 2)


def test_all_layers_take_hardly_more_passes_than_one():
    stages = [nn.Sequential(*[nn.Conv2d(3, 3, 3, s, padding=1) for s in (2, 1, 1)]) for _ in range(5)]
    model = nn.Sequential(*stages)
    counts = []
    for layers in (["4"], ["0", "1", "2", "3", "4"]):
        passes = record_passes(model)
        probe(model, find_layers(model, layers), ["center"], torch.randn(1, 3, 224, 224))
        counts.append(len(passes))
    assert counts[1] <= 1.5 * counts[0] <= 15


# Closed forms


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


def test_an_even_box_projects_between_pixels():
    net = nn.Sequential(nn.Conv1d(1, 1, 4, stride=4))
    field = theoretical_receptive_field(net, "0", (1, 32))
    assert (field.position, field.center) == ((4,), (17.5,))


# Brute force


def hull(model, size, axis, unit, channels=2):
    """The interval of positions along an axis where a NaN, in double precision, reaches a unit."""
    batch = torch.zeros(size[axis], channels, *size, dtype=torch.float64)
    for position, image in enumerate(batch):
        image.select(axis + 1, position).fill_(math.nan)
    with torch.no_grad():
        output = model.double()(batch)
    model.float()
    seen = output[(slice(None), slice(None), *unit)].isnan().any(1).nonzero()
    return (int(seen[0]), int(seen[-1]) + 1) if len(seen) else None


def check_against_brute_force(net, shares):
    """On the input the box holds all that brute force finds; it equals what that finds on a larger one."""
    model, size = net.model, net.size
    try:
        grid = tuple(model(torch.zeros(1, 2, *size)).shape[2:])
    except RuntimeError:
        return
    position = shares[: len(size)]
    unit = tuple(round(share * (length - 1)) for share, length in zip(position, grid, strict=True))
    own = [hull(model, size, axis, unit) for axis in range(len(size))]
    if None in own:
        with pytest.raises(ValueError, match="no influence"):
            theoretical_receptive_field(model, last(model), (2, *size), position, layout=lambda output: output)
        return
    field = theoretical_receptive_field(model, last(model), (2, *size), position, layout=lambda output: output)
    assert (field.grid, field.position) == (grid, unit)
    for axis, (first, end) in enumerate(own):
        lower, upper, stride, period = field.lower[axis], field.upper[axis], net.strides[axis], net.periods[axis]
        if 64 % period and 192 % period:
            assert (max(lower, 0), min(upper, size[axis])) == (first, end)
            continue
        shift = math.ceil(50 / period) * period
        larger = tuple(length + 2 * shift * (other == axis) for other, length in enumerate(size))
        moved = tuple(index + int(shift / stride) * (other == axis) for other, index in enumerate(unit))
        whole = hull(model, larger, axis, moved)
        assert 0 < whole[0] <= first + shift
        assert end + shift <= whole[1] < larger[axis]
        assert (lower, upper, field.stride[axis]) == (whole[0] - shift, whole[1] - shift, stride)


@settings(SETTINGS, max_examples=30)
@given(random_nets(), SHARES)
def test_boxes_are_those_of_brute_force(net, shares):
    check_against_brute_force(net, shares)


@pytest.mark.slow
@settings(SETTINGS, max_examples=500)
@given(random_nets(), SHARES)
def test_boxes_of_many_networks_are_those_of_brute_force(net, shares):
    check_against_brute_force(net, shares)


# Global, fixed-size and size-dependent layers


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
    (fields,) = probe(net, find_layers(net, ["2"]), [(0,), (6,), (7,), (10,)], torch.randn(1, 1, 448))
    assert [(field.lower[0], field.upper[0]) for field in fields] == [(-28, 28), (0, 56), (0, 56), (28, 56)]
    assert len(passes) <= 35


def test_what_longer_inputs_show_counts_only_where_it_is_no_less():
    class Narrowing(nn.Module):
        """Sees 8 pixels to either side of an input of 64 pixels, and fewer of a longer one."""

        def forward(self, x):
            reach = 512 // x.shape[-1]
            return nn.functional.avg_pool1d(x, 2 * reach + 1, 1, reach)

    model = Narrowing()
    ((center, corner),) = probe(model, find_layers(model, [model]), ["center", "corner"], torch.randn(1, 1, 64))
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
    ((corner, center),) = probe(net, find_layers(net, ["0"]), ["corner", "center"], torch.randn(1, 1, 16, 16))
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


# Calling it


def test_several_positions_and_real_inputs():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    inputs = torch.randn(5, 3, 32, 32)
    (fields,) = probe(net, find_layers(net, ["2"]), ["center", "corner", "edge", (1.0, -2)], inputs)
    assert [field.position for field in fields] == [(8, 8), (0, 0), (0, 8), (15, 14)]
    assert all(field.size == (7, 7) for field in fields)
    assert [field.center for field in fields] == [(16.0, 16.0), (0.0, 0.0), (0.0, 16.0), (30.0, 28.0)]
    assert theoretical_receptive_field(net, net[2], inputs, "edge") == fields[2]


def test_other_arguments_go_along():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, padding=1)

        def forward(self, x, gate, scale):
            return self.conv(x * gate[:, None, None, None]) * scale

    model = Gated()
    layers = find_layers(model, ["conv"])
    inputs, gates = torch.randn(3, 1, 16, 16), torch.ones(3)
    ((field,),) = probe(model, layers, ["center"], (inputs,), additional_forward_args=(gates, 2.0))
    assert field.size == (3, 3)


def test_the_network_comes_back_as_it_was():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return x + 0 * torch.rand(())

    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), Counting(), nn.Conv2d(2, 2, 3))
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [module.training for module in net.modules()]
    random_state = torch.get_rng_state()
    theoretical_receptive_field(net, "4", (1, 20, 20))
    assert [module.training for module in net.modules()] == flags
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_the_network_comes_back_as_it_was_after_an_error():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(7, 2)).train()
    with pytest.raises(RuntimeError):
        theoretical_receptive_field(net, "1", (1, 20, 20))
    assert net.training
    assert not net[0]._forward_hooks


def test_a_result_survives_json():
    net = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1))
    field = theoretical_receptive_field(net, "1", (1, 16, 16), "corner")
    assert TheoreticalReceptiveField.from_dict(json.loads(json.dumps(field.to_dict()))) == field


def test_a_result_prints_as_a_report():
    net = nn.Sequential(nn.Conv2d(1, 1, 5, padding=2))
    report = str(theoretical_receptive_field(net, "0", (1, 16, 16), "edge"))
    for line in (
        "unit (0, 8) in a grid of 16 x 16",
        "5 x 5",
        "[-2, 3) x [6, 11) in an input of 16 x 16",
        "(0, 8), theoretical",
        "40.0% of the box lies outside the input",
    ):
        assert line in report


# Errors


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3,), "one to three spatial axes"),
        ((1, 3, 8, 8, 8), "leave the batch axis out"),
        ((3, 0, 8), "positive ints"),
        ((3, 8.5, 8), "positive ints"),
        (224, "positive ints"),
        ("224", "positive ints"),
        (torch.zeros(3, 8), "tensor \\(N, C_in, \\*size\\)"),
        (torch.full((1, 3, 8, 8), math.nan), "holds NaN"),
    ],
    ids=["no-axes", "batch-axis", "zero", "float", "int", "text", "no-batch", "nan"],
)
def test_inputs_that_are_none_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        theoretical_receptive_field(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), shape)


def test_integer_inputs_are_refused():
    with pytest.raises(TypeError, match="cannot hold NaN"):
        theoretical_receptive_field(nn.Identity(), nn.Identity(), torch.zeros(1, 3, 8, dtype=torch.int64))


def test_a_layer_without_a_grid_is_refused(convnet):
    with pytest.raises(ValueError, match=r"Layer '8' gives an output of shape \(1, 4\)"):
        theoretical_receptive_field(convnet, "8", (3, 20, 20))


def test_a_network_that_makes_nan_itself_is_refused():
    net = nn.Sequential(nn.Conv2d(1, 1, 3))
    nn.init.constant_(net[0].weight, math.nan)
    with pytest.raises(ValueError, match="gives NaN for finite inputs"):
        theoretical_receptive_field(net, "0", (1, 8, 8))


def test_the_networks_own_error_comes_through_with_the_reason():
    net = nn.Sequential(nn.Conv2d(1, 1, 9))
    with pytest.raises(RuntimeError, match="Kernel size can't be greater") as caught:
        theoretical_receptive_field(net, "0", (1, 4, 4))
    assert "one sample of shape (1, 4, 4)" in caught.value.__notes__[0]


class Sign(nn.Module):
    def forward(self, x):
        return x.sign()


@pytest.mark.parametrize(
    ("model", "position"),
    [
        (nn.Sequential(nn.Conv2d(1, 1, 1, padding=2)), "corner"),
        (nn.Sequential(nn.Conv2d(1, 1, 3), Sign()), "center"),
    ],
    ids=["only-padding", "swallowed"],
)
def test_units_that_the_input_does_not_reach_are_refused(model, position):
    with pytest.raises(ValueError, match="The input has no influence on unit"):
        theoretical_receptive_field(model, last(model), (1, 12, 12), position)


def test_a_unit_that_sees_around_the_border_is_centred_on_its_own_cell():
    wrap = {"padding": 2, "padding_mode": "circular"}
    model = nn.Sequential(nn.Conv1d(1, 1, 5, **wrap), nn.Conv1d(1, 1, 5, **wrap))
    corner, center = (theoretical_receptive_field(model, "1", (1, 64), place) for place in ("corner", "center"))
    assert (corner.is_clipped, corner.center, corner.center_source) == (True, (0.0,), "grid cell")
    assert (center.is_clipped, center.center, center.center_source) == (False, (32.0,), "theoretical")


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
