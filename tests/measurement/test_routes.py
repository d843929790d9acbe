"""Windows: the result is that of the whole input, and networks on which it would not be are found out."""

import re

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from oracle import mean_map
from torch import nn
from torch.nn import functional as F

from captum_erf import EffectiveReceptiveField, channels_last

POSITIONS = ["center", "corner", "edge", (-1, -1), (0, -1), (0.3, 0.7)]


def both(model, layer, inputs, **arguments):
    """The field by windows and on the whole input; asserts that they agree to 1e-6 of the maximum."""
    batches = inputs if isinstance(inputs, list) else [inputs]
    layout = arguments.pop("layout", "channels_first")
    erf = EffectiveReceptiveField(model.eval(), layer, layout=layout)
    auto = erf.aggregate(batches, **arguments)
    whole = EffectiveReceptiveField(model, layer, layout=layout).aggregate(batches, window=False, **arguments)
    assert whole.recipe["route"] == "whole input: window=False"
    assert np.abs(auto.values - whole.values).max() <= 1e-6 * np.abs(whole.values).max()
    assert (auto.num_samples, auto.num_dead) == (whole.num_samples, whole.num_dead)
    return auto, whole


def by_window(field):
    return field.recipe["route"].startswith("window (")


def chain(*layers):
    """The layers with a nonlinearity after each that leaves no unit dead, in one Sequential."""
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.LeakyReLU(0.2))])


CHAINS = {
    "padded convolutions": (lambda: chain(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 5, padding=2)), (48, 48)),
    "unpadded convolutions": (lambda: chain(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 5)), (48, 48)),
    "strides": (lambda: chain(nn.Conv2d(3, 8, 5, 2, 2), nn.Conv2d(8, 8, 3, 2, 1)), (64, 64)),
    "odd sizes": (lambda: chain(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)), (57, 63)),
    "stride not dividing the size": (lambda: chain(nn.Conv2d(3, 8, 3, 3, 1), nn.Conv2d(8, 8, 3, 1, 1)), (64, 50)),
    "pooling": (
        lambda: chain(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)),
        (50, 50),
    ),
    "ceil-mode pooling": (
        lambda: chain(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(3, 8, 3, 1, 1), nn.AvgPool2d(2, ceil_mode=True)),
        (50, 53),
    ),
    "dilation": (lambda: chain(nn.Conv2d(3, 8, 3, dilation=4, padding=4), nn.Conv2d(8, 8, 3, padding=1)), (48, 48)),
    "unequal strides": (
        lambda: chain(nn.Conv2d(3, 8, 3, (1, 2), 1), nn.Conv2d(8, 8, (1, 5), (2, 1), (0, 2))),
        (40, 60),
    ),
    "even kernels": (lambda: chain(nn.Conv2d(3, 8, 4, 2, 1), nn.Conv2d(8, 8, 2)), (48, 44)),
    "reflection padding": (
        lambda: chain(nn.Conv2d(3, 8, 5, padding=2, padding_mode="reflect"), nn.Conv2d(8, 8, 3, padding=1)),
        (48, 48),
    ),
    "normalisation": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU()), (40, 40)),
}


@pytest.mark.parametrize("position", POSITIONS, ids=str)
@pytest.mark.parametrize(("model", "size"), CHAINS.values(), ids=CHAINS)
def test_equals_the_whole_input(model, size, position):
    model = model()
    auto, _ = both(model, str(len(model) - 1), torch.randn(3, 3, *size), position=position)
    assert by_window(auto)


def test_one_spatial_axis():
    model = chain(nn.Conv1d(2, 8, 9, 4), nn.MaxPool1d(2, ceil_mode=True), nn.Conv1d(8, 8, 3, padding=1))
    for position in ("center", "corner", (-1,), (0.7,)):
        auto, _ = both(model, "5", torch.randn(3, 2, 301), position=position)
        assert by_window(auto)


def test_three_spatial_axes():
    model = chain(nn.Conv3d(1, 4, 3, padding=1), nn.MaxPool3d(2), nn.Conv3d(4, 4, (3, 1, 3), padding=(1, 0, 1)))
    for position in ("center", "corner", "edge", (-1, 0, -1)):
        auto, _ = both(model, "5", torch.randn(2, 1, 21, 20, 24), position=position)
        assert by_window(auto)


def built(kind, kernel, stride, dilation, padded, ceil):
    padding = padded * (kernel // 2)
    if kind == "conv":
        return nn.Conv2d(2, 2, kernel, stride, padding, dilation)
    pool = nn.MaxPool2d if kind == "max" else nn.AvgPool2d
    return pool(kernel, stride, padding, ceil_mode=ceil)


layer = st.builds(
    built,
    st.sampled_from(["conv", "max", "mean"]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 2),
    st.booleans(),
    st.booleans(),
)


@given(
    layers=st.lists(layer, min_size=1, max_size=3),
    size=st.tuples(st.integers(40, 56), st.integers(40, 56)),
    position=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=30, deadline=None, derandomize=True, phases=[Phase.generate])
def test_random_chains_equal_the_whole_input(layers, size, position):
    model = chain(*layers)
    both(model, str(len(model) - 1), torch.randn(2, 2, *size), position=position)


@pytest.mark.parametrize("position", ["center", "corner", (5, 6), (6, 5), (-1, -1)], ids=str)
@pytest.mark.parametrize("upsample", ["transposed", "nearest", "bilinear", "shuffle"])
def test_grids_that_are_refined_again(upsample, position):
    """A unit's field depends on its index modulo the coarser stride, which windows must keep or give up."""
    up = {
        "transposed": nn.ConvTranspose2d(4, 4, 3, 2, 1, 1),
        "nearest": nn.Upsample(scale_factor=2),
        "bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),
        "shuffle": nn.Sequential(nn.Conv2d(4, 16, 1), nn.PixelShuffle(2)),
    }[upsample]
    model = chain(nn.Conv2d(3, 4, 3, 2, 1), up, nn.Conv2d(4, 4, 3, padding=1))
    both(model, "5", torch.randn(2, 3, 32, 32), position=position)
    both(model, "3", torch.randn(2, 3, 32, 32), position=position)


class UNet(nn.Module):
    """Joins a fine and a coarse path: crops of odd size do not fit together again."""

    def __init__(self):
        super().__init__()
        self.down, self.deep, self.up = (nn.Conv2d(c, 4, 3, padding=1) for c in (1, 4, 8))

    def forward(self, images):
        skip = self.down(images).relu()
        deep = self.deep(F.max_pool2d(skip, 2)).relu()
        return self.up(torch.cat([F.interpolate(deep, scale_factor=2), skip], 1))


@pytest.mark.parametrize("position", ["center", "corner", (17, 18), (18, 17), (-1, -1), (0, 9)], ids=str)
def test_skip_connections(position):
    """Windows start at multiples of the coarser path's stride, which is not the layer's own."""
    auto, _ = both(UNet(), "up", torch.randn(2, 1, 32, 32), position=position)
    assert by_window(auto)


def test_a_shifted_phase_is_found_out_although_the_first_sample_hides_it():
    """On a grid coarsened by 6 and refined by 2, a window in steps of 3 would pool other cells. Where the largest of
    both is the same one, as here in the first sample, neither gradient nor value tells: the field in the window does.
    """
    model = nn.Sequential(nn.Conv2d(1, 1, 4, 3, 1), nn.MaxPool2d(5, 2, 2), nn.Upsample(scale_factor=2), nn.Identity())
    inputs = torch.randn(12, 1, 54, 54)
    inputs[0] = 0
    inputs[0, :, 23:27, 23:27] = model[0].weight * 100
    auto, _ = both(model, "3", inputs)
    assert auto.recipe["route"] == "window (24, 24) at (12, 12)"
    assert auto.theoretical.lower == (17, 17)


def test_channels_last_layers():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.mix = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 6)

        def forward(self, images):
            return self.mix(self.embed(images).permute(0, 2, 3, 1))

    auto, _ = both(Last(), "mix", torch.randn(2, 3, 32, 32), layout=channels_last, position=(2, 7))
    assert by_window(auto)
    assert auto.recipe["route"] == "window (4, 4) at (8, 28)"


class Net(nn.Module):
    """Two convolutions with something in between that treats windows and whole inputs differently."""

    def __init__(self, between):
        super().__init__()
        self.first, self.between, self.last = nn.Conv2d(3, 6, 3, padding=1), between, nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, images):
        return self.last(self.between(self.first(images)).relu())


class Between(nn.Module):
    """A module made of a function of its input and one weight of fixed size."""

    def __init__(self, function, *shape):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(shape))

    def forward(self, features):
        return self.function(features, self.weight)


def stretched(weight, features):
    return F.interpolate(weight, features.shape[2:], mode="bilinear")


def coordinates(features):
    rows, columns = (torch.linspace(-1, 1, length) for length in features.shape[2:])
    return rows[:, None] + columns


def padded_to_eleven(features, _):
    """Pads evenly on both sides up to the next multiple of 11, as encoders do for theirs, and cuts again."""
    rows, columns = (-length % 11 for length in features.shape[2:])
    padded = F.pad(features, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    pooled = F.interpolate(F.avg_pool2d(padded, 2), scale_factor=2)
    return pooled[..., : features.shape[2], : features.shape[3]]


def squeeze_and_excite(features, weight):
    return features * torch.sigmoid(features.mean((2, 3), keepdim=True) @ weight.diag_embed()[0, 0]) + 0 * weight.sum()


ADVERSARIES = {
    "fixed position embedding": (lambda x, w: x + w, (1, 6, 32, 32)),
    "fixed position factors": (lambda x, w: x * w, (1, 6, 32, 32)),
    "interpolated position embedding": (lambda x, w: x + stretched(w, x), (1, 6, 4, 4)),
    "interpolated position factors": (lambda x, w: x * stretched(w, x), (1, 6, 4, 4)),
    "coordinates as factors": (lambda x, _: x * (2 + coordinates(x)), ()),
    "coordinates added": (lambda x, _: x + coordinates(x) / 4, ()),
    "pixels counted": (lambda x, _: x / x.shape[-1], ()),
    "padding by size": (padded_to_eleven, ()),
    "resizing by size": (lambda x, _: F.interpolate(F.interpolate(x, (20, 20), mode="bilinear"), x.shape[2:]), ()),
    "fixed input size": (lambda x, w: x.flatten(2).matmul(torch.eye(1024)).unflatten(2, (32, 32)), ()),
}


@pytest.mark.parametrize("position", ["center", (5, 9), "corner"], ids=str)
@pytest.mark.parametrize(("function", "shape"), ADVERSARIES.values(), ids=ADVERSARIES)
def test_networks_that_treat_windows_differently_are_found_out(function, shape, position):
    inputs = [torch.randn(8, 3, 32, 32) for _ in range(3)]
    auto, _ = both(Net(Between(function, *shape)), "last", inputs, position=position)
    assert auto.recipe["route"].startswith("whole input: ")
    assert auto.recipe["window"] == "auto"


def test_values_that_differ_are_found_out_although_the_first_samples_gradient_does_not_show_it():
    """A strong sample crosses no ReLU's threshold where a faint shift moves it; weaker ones later on do."""
    inputs = torch.randn(24, 3, 32, 32)
    inputs[0] *= 5
    auto, _ = both(Net(Between(lambda x, _: x + 0.005 * coordinates(x))), "last", inputs, position=(5, 9))
    assert auto.recipe["route"].startswith("whole input: the window's map differs")


@pytest.mark.parametrize("position", ["center", (5, 9), "corner"], ids=str)
@pytest.mark.parametrize(
    "function",
    [lambda x, _: x + x.flip(3), lambda x, _: x.roll(x.shape[3] // 2, 3), lambda x, _: x.cumsum(2) / 10],
    ids=["mirrored", "rolled", "running sum"],
)
def test_units_that_see_places_far_apart(function, position):
    both(Net(Between(function)), "last", torch.randn(4, 3, 32, 32), position=position)


def test_a_linear_network_with_coordinates_stays_right():
    """Where only values differ and no gradient, either route is right."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Between(lambda x, _: x + coordinates(x)), nn.Conv2d(4, 4, 3))
    both(model, "2", torch.randn(4, 3, 32, 32))


def test_the_reason_says_by_how_much_the_window_differs():
    auto, _ = both(Net(Between(lambda x, _: x / x.shape[-1])), "last", torch.randn(2, 3, 32, 32))
    reason = r"whole input: the window's map differs from the whole input's by \d\.\de\+00 of its maximum"
    assert re.fullmatch(reason, auto.recipe["route"])


GLOBALS = {
    "squeeze and excitation": lambda x, _: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "group norm": lambda x, _: F.group_norm(x, 2),
    "instance norm": lambda x, _: F.instance_norm(x),
    "attention": lambda x, _: (x.flatten(2).mT @ x.flatten(2)).softmax(-1).matmul(x.flatten(2).mT).mT.view_as(x),
}


@pytest.mark.parametrize("function", GLOBALS.values(), ids=GLOBALS)
def test_global_layers_use_the_whole_input(function):
    auto, _ = both(Net(Between(function)), "last", torch.randn(2, 3, 16, 16))
    assert auto.recipe["route"] == "whole input: the unit sees the whole input"


def test_a_field_that_covers_most_of_the_input_uses_the_whole():
    auto, _ = both(Net(nn.Identity()), "last", torch.randn(2, 3, 5, 5))
    assert auto.recipe["route"] == "whole input: the field covers most of the input"


class Scaled(Net):
    def forward(self, images, factor, is_on=True):
        return super().forward(images * factor if is_on else images)


@pytest.mark.parametrize(
    "arguments", [2.0, torch.tensor(2.0), (torch.full((1, 3, 1, 1), 2.0), True)], ids=["number", "step", "flag"]
)
def test_additional_arguments_for_the_whole_batch_leave_the_window(arguments):
    auto, _ = both(Scaled(nn.Identity()), "last", torch.randn(2, 3, 32, 32), additional_forward_args=arguments)
    assert auto.recipe["route"].startswith("window (")


def test_positions_share_a_window_pass_with_additional_arguments():
    erf = EffectiveReceptiveField(Scaled(nn.Identity()), "last")
    settings = {"positions": ["center", (8, 8)], "additional_forward_args": (torch.full((1, 3, 1, 1), 2.0),)}
    images = torch.randn(2, 3, 32, 32)
    for part, whole in zip(erf.sweep([images], **settings), erf.sweep([images], **settings, window=False), strict=True):
        assert part.recipe["route"].startswith("window (")
        torch.testing.assert_close(part.values, whole.values)


@pytest.mark.parametrize("arguments", [torch.ones(2, 1, 1, 1), torch.rand(2, 3, 32, 32)], ids=["steps", "images"])
def test_additional_arguments_by_sample_use_the_whole_input(arguments):
    auto, _ = both(Scaled(nn.Identity()), "last", torch.randn(2, 3, 32, 32), additional_forward_args=arguments)
    assert auto.recipe["route"].startswith("whole input: the network takes additional arguments that hold one entry")


def test_an_additional_argument_over_the_input_uses_the_whole_input():
    """It cannot be cut with it."""
    mask = torch.rand(1, 1, 32, 32)
    auto, _ = both(Scaled(nn.Identity()), "last", torch.randn(2, 3, 32, 32), additional_forward_args=mask)
    assert auto.recipe["route"].startswith("whole input: ")


def test_several_inputs_use_the_whole_input():
    class Sum(Net):
        def forward(self, images, others):
            return super().forward(images + others)

    batch = ((torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)), "label")
    auto, _ = both(Sum(nn.Identity()), "last", [batch])
    assert auto.recipe["route"] == "whole input: the network takes several inputs"


def test_a_refused_input_size_uses_the_whole_input():
    class Fixed(nn.Module):
        def forward(self, features):
            assert features.shape[2:] == (32, 32), "wrong size"
            return features

    for position in ("center", "corner"):
        auto, _ = both(Net(Fixed()), "last", torch.randn(2, 3, 32, 32), position=position)
        assert auto.recipe["route"].startswith(("whole input: the network ", "whole input: the field goes on beyond"))


class Remembers(nn.Module):
    """Fits its coordinates to the first input it sees, and uses them for all others."""

    known = None

    def forward(self, features):
        if self.known is None:
            self.known = coordinates(features)
        return features * (2 + self.known)


@pytest.mark.parametrize("ran_before", [False, True])
def test_what_a_network_remembers_of_an_inputs_size_is_not_carried_over(ran_before):
    model, inputs = Net(Remembers()), torch.randn(4, 3, 32, 32)
    if ran_before:
        model(inputs)
    known = model.between.known
    erf = EffectiveReceptiveField(model, ["first", "last"])
    fields = erf.sweep([inputs, inputs], positions=["center", "corner"])
    for field, attributions in zip(fields[::2], erf.attribute(inputs), strict=True):
        expected = attributions.sum(1).mean(0).numpy()
        assert np.abs(field.values - expected).max() <= 1e-6 * expected.max()
    assert model.between.known is known or not ran_before


def test_batch_statistics_use_the_whole_input():
    model = Net(nn.BatchNorm2d(6, track_running_stats=False))
    auto, _ = both(model, "last", torch.randn(4, 3, 32, 32))
    assert auto.recipe["route"] == "whole input: normalisation mixes the samples"


def test_random_layers_use_the_whole_input():
    model = Net(nn.Dropout(0.5)).train()
    erf, inputs = EffectiveReceptiveField(model, "last"), torch.randn(4, 3, 32, 32)
    assert by_window(erf.aggregate([inputs]))
    field = erf.aggregate([inputs], eval_mode=False)
    assert field.recipe["route"].startswith("whole input: the window's map differs")
    assert by_window(erf.aggregate([inputs]))


def test_a_dead_first_sample_cannot_check_the_window():
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3, bias=False), nn.ReLU())
    inputs = torch.randn(6, 3, 32, 32)
    inputs[0] = -1
    auto, whole = both(model, "2", [inputs[:1], inputs[1:]])
    assert auto.recipe["route"] == (
        "whole input: the first sample does not activate the unit, so the window could not be checked"
    )
    assert whole.num_dead >= 1


def test_a_broken_first_sample_leaves_the_check_to_the_next():
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3, bias=False), nn.LeakyReLU())
    inputs = torch.randn(6, 3, 32, 32)
    inputs[0] = float("nan")
    auto, whole = both(model, "2", inputs, nonfinite="skip")
    assert by_window(auto)
    assert (whole.num_samples, whole.num_nonfinite) == (5, 1)


def test_weights_that_change_are_checked_again():
    """A position embedding of zeros passes the check; the same object must not rely on that after training."""
    model = Net(Between(lambda x, w: x * (1 + stretched(w, x)), 1, 6, 4, 4))
    nn.init.zeros_(model.between.weight)
    inputs = torch.randn(4, 3, 32, 32)
    erf = EffectiveReceptiveField(model, "last")
    assert by_window(erf.aggregate([inputs]))
    with torch.no_grad():
        model.between.weight.add_(torch.randn(1, 6, 4, 4))
    later = erf.aggregate([inputs])
    whole = erf.aggregate([inputs], window=False)
    assert not by_window(later)
    assert np.abs(later.values - whole.values).max() <= 1e-6 * whole.values.max()


def test_a_channel_is_checked_although_all_channels_together_cancel():
    """Layer norm's channels sum to zero: the check must not rest on their sum."""

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.LayerNorm(8)

        def forward(self, images):
            return self.norm(self.conv(images).permute(0, 2, 3, 1))

    auto, _ = both(Norm(), "norm", torch.randn(4, 3, 32, 32), layout=channels_last, channel=2)
    assert by_window(auto)


@pytest.mark.parametrize("channel", [1, [0, 3], lambda v: v.square().sum(1)], ids=["one", "two", "callable"])
@pytest.mark.parametrize(
    "magnitude",
    ["abs", "square", "positive", "signed", lambda g: g.abs().amax(1)],
    ids=["abs", "square", "positive", "signed", "callable"],
)
def test_every_channel_and_magnitude(channel, magnitude):
    auto, _ = both(Net(nn.Identity()), "last", torch.randn(4, 3, 32, 32), channel=channel, magnitude=magnitude)
    assert by_window(auto)


def test_random_signs_are_drawn_alike_on_both_routes():
    model, inputs = Net(nn.Identity()), torch.randn(4, 3, 32, 32)
    fields = []
    for window in ("auto", False):
        erf = EffectiveReceptiveField(model, "last")
        torch.manual_seed(3)
        fields.append(erf.aggregate([inputs], channel="random", window=window))
    assert by_window(fields[0])
    assert np.abs(fields[0].values - fields[1].values).max() <= 1e-6 * fields[1].values.max()


def test_low_precision_on_windows():
    model, inputs = Net(nn.Identity()), torch.randn(4, 3, 32, 32)
    erf = EffectiveReceptiveField(model, "last")
    low = erf.aggregate([inputs], autocast=torch.bfloat16)
    plain = erf.aggregate([inputs])
    assert by_window(low)
    assert 1e-6 < np.abs(low.values - plain.values).max() / plain.values.max() < 0.05


def test_a_sweep_mixes_windows_and_whole_inputs():
    model = chain(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 15, padding=7))
    model.append(nn.AdaptiveAvgPool2d(2))
    layers, positions = ["0", "2", "4", "6"], ["center", "corner", (-1, -1)]
    inputs = [torch.randn(4, 3, 36, 36), torch.randn(2, 3, 36, 36)]
    swept = EffectiveReceptiveField(model, layers).sweep(inputs, positions=positions)
    plain = EffectiveReceptiveField(model, layers).sweep(inputs, positions=positions, window=False)
    assert len({by_window(field) for field in swept}) == 2
    for field, reference in zip(swept, plain, strict=True):
        assert (field.layer, field.position) == (reference.layer, reference.position)
        assert np.abs(field.values - reference.values).max() <= 1e-6 * reference.values.max()


def shapes_seen(module):
    seen = []
    module.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    return seen


def test_only_the_window_is_run():
    model = Net(nn.Identity())
    accumulator = EffectiveReceptiveField(model, "last").accumulator()
    for _ in range(2):  # after the second batch, one sample is computed both ways again
        accumulator.update(torch.randn(4, 3, 64, 64))
    seen = shapes_seen(model.first)
    accumulator.update(torch.randn(4, 3, 64, 64))
    assert seen == [(4, 3, 5, 5)]


def test_equal_windows_share_one_pass():
    """25 inner units, 4 corners: as many passes as there are shapes of windows."""
    model = Net(nn.Identity())
    inner = [(row, column) for row in range(10, 60, 10) for column in range(10, 60, 10)]
    corners = [(0, 0), (0, -1), (-1, 0), (-1, -1)]
    erf = EffectiveReceptiveField(model, "last")
    accumulator = erf.accumulator(positions=[*inner, *corners])
    inputs = torch.randn(2, 3, 64, 64)
    accumulator.update(inputs)
    accumulator.update(inputs)
    seen = shapes_seen(model.first)
    accumulator.update(inputs)
    assert sorted(seen) == [(4 * 2, 3, 3, 3), (25 * 2, 3, 5, 5)]
    whole = erf.sweep([inputs] * 3, positions=[*inner, *corners], window=False)
    for field, reference in zip(accumulator.compute(), whole, strict=True):
        assert np.abs(field.values - reference.values).max() <= 1e-6 * reference.values.max()


@pytest.mark.parametrize("positions", [("center",), ((20, 20), (30, 40)), ((20, 20), (20, 20))], ids=str)
def test_layers_for_which_the_same_is_run_share_the_pass(positions):
    """What follows a convolution sees the same, the convolution before sees less."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1), nn.Identity())
    erf, layers = EffectiveReceptiveField(model, ["0", "1", "2"]), ["0", "1", "2"]
    accumulator = erf.accumulator(positions=positions)
    inputs = torch.randn(2, 3, 64, 64)
    accumulator.update(inputs)
    accumulator.update(inputs)
    seen = shapes_seen(model[0])
    accumulator.update(inputs)
    count = 2 * len(positions)
    assert sorted(seen) == [(count, 3, 3, 3), (count, 3, 5, 5)]
    fields = accumulator.compute()
    assert [field.layer for field in fields] == [layer for layer in layers for _ in positions]
    for field in fields:
        expected = mean_map(model, model[int(field.layer)], inputs, field.position)
        np.testing.assert_allclose(field.values, expected, rtol=1e-4, atol=1e-7)


def test_setting_up_is_paid_once_for_each_object_and_size(count_calls):
    model = Net(nn.Identity())
    erf = EffectiveReceptiveField(model, "last")
    erf.aggregate(iter([torch.randn(2, 3, 32, 32)]))
    calls = count_calls(model.first)
    erf.aggregate([torch.randn(2, 3, 32, 32)])
    assert len(calls) == 1
    erf.aggregate([torch.randn(2, 3, 40, 40)])
    assert len(calls) > 2


class Folded(nn.Module):
    """Does not run on an empty batch, for which torch cannot tell what -1 stands for."""

    def forward(self, images):
        return images.flatten(2).reshape(len(images), -1, *images.shape[2:])


def test_batches_of_one_sample_are_never_run_empty():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Folded(), nn.Conv2d(4, 4, 3, padding=1))
    images = torch.randn(3, 3, 32, 32)
    apart = EffectiveReceptiveField(net, "2").aggregate(list(images.split(1)))
    assert apart.recipe["route"].startswith("window")
    whole = EffectiveReceptiveField(net, "2").aggregate([images], window=False)
    assert abs(apart.values - whole.values).max() <= 1e-5 * whole.values.max()
