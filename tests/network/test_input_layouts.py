"""Inputs whose channels are not axis 1: read as (N, C_in, *size), with maps over the axes that follow the channels."""

import pytest
import torch
from oracle import at, gradient
from torch import nn
from torch.testing import assert_close

from captum_erf import (
    EffectiveReceptiveField,
    channels_last,
    theoretical_receptive_field,
    theoretical_receptive_fields,
    tokens,
)
from captum_erf.network.rearrangements import InputLayout

GENERATOR = torch.Generator().manual_seed(0)
SEQUENCES = torch.randn(3, 40, 6, generator=GENERATOR, dtype=torch.float64)
IMAGES = torch.randn(3, 24, 20, 3, generator=GENERATOR, dtype=torch.float64)
CLIPS = torch.randn(3, 8, 3, 12, 12, generator=GENERATOR, dtype=torch.float64)


def frames_first(clips):
    return clips.transpose(1, 2)


def patches_row_by_row(rows):
    """Not a mere change of axes: 24 x 20 places stand in one row."""
    return rows.mT.unflatten(2, (24, 20))


class Moved(nn.Module):
    """Convolutions over an input that comes in another order."""

    def __init__(self, convolution, channels, move):
        super().__init__()
        self.first = convolution(channels, 8, 3, stride=2, padding=1)
        self.last = convolution(8, 4, 3, padding=1)
        self.move = move

    def forward(self, inputs):
        return self.last(self.first(self.move(inputs)).tanh())


CASES = {
    "(N, T, F)": (nn.Conv1d, 6, channels_last, SEQUENCES),
    "(N, H, W, C)": (nn.Conv2d, 3, channels_last, IMAGES),
    "(N, T, C, H, W)": (nn.Conv3d, 3, frames_first, CLIPS),
    "(N, L, C) of an image": (nn.Conv2d, 3, patches_row_by_row, IMAGES.flatten(1, 2)),
    "tokens of an image": (nn.Conv2d, 3, tokens(grid=(24, 20)), IMAGES.flatten(1, 2)),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    torch.manual_seed(0)
    convolution, channels, layout, inputs = request.param
    model = Moved(convolution, channels, layout).double().eval()
    unit = tuple(length // 2 for length in model(inputs).shape[2:])
    return model, layout, inputs, gradient(model, model.last, inputs, at(*unit)).abs()


@pytest.mark.parametrize("window", ["auto", False])
def test_a_map_lies_over_the_spatial_axes_of_the_input(case, window):
    model, layout, inputs, expected = case
    field = EffectiveReceptiveField(model, "last", input_layout=layout).aggregate([inputs], window=window)
    assert_close(torch.from_numpy(field.values), layout(expected).sum(1).mean(0), rtol=1e-9, atol=1e-14)
    assert field.theoretical.size == (7,) * len(field.grid)
    assert field.recipe["input_layout"] != "channels_first"


def test_attributions_keep_the_shape_of_the_input(case):
    model, layout, inputs, expected = case
    attributions = EffectiveReceptiveField(model, "last", input_layout=layout).attribute(inputs)
    assert_close(attributions, expected, rtol=1e-9, atol=1e-14)
    assert attributions.is_contiguous()


def test_fields_are_found_without_inputs(case):
    model, layout, inputs, _ = case
    shape = tuple(inputs.shape[1:])
    assert set(theoretical_receptive_field(model, "last", shape, input_layout=layout).size) == {7}
    table = theoretical_receptive_fields(model, None, shape, input_layout=layout)
    assert [set(field.size) for field in table][:2] == [{3}, {7}]


def test_windows_work_where_the_axes_only_change_places():
    model = Moved(nn.Conv1d, 6, channels_last).double().eval()
    field = EffectiveReceptiveField(model, "last", input_layout="channels_last").aggregate([SEQUENCES])
    assert field.recipe["route"].startswith("window (8,)")


def test_several_layers_and_states_share_the_reading():
    model = Moved(nn.Conv2d, 3, channels_last).double().eval()
    erf = EffectiveReceptiveField(model, ["first", "last"], input_layout=channels_last)
    whole = erf.sweep([IMAGES])
    first, second = erf.accumulator(), erf.accumulator()
    first.update(IMAGES[:2])
    second.load_state_dict(first.state_dict())
    second.update(IMAGES[2:])
    for ours, theirs in zip(second.compute(), whole, strict=True):
        assert_close(ours.values, theirs.values, rtol=1e-12, atol=1e-15)
    other = EffectiveReceptiveField(model, ["first", "last"], input_layout=lambda images: images.movedim(-1, 1))
    with pytest.raises(ValueError, match="different measurements: input_layout is"):
        other.accumulator().load_state_dict(first.state_dict())


def test_of_several_inputs_the_measured_one_is_read():
    class Scaled(Moved):
        def forward(self, scale, images):
            return super().forward(images) * scale[:, :1, :1, :1]

    torch.manual_seed(0)
    model, scale = Scaled(nn.Conv2d, 3, channels_last).double().eval(), torch.full((3, 1, 1, 1), 2.0).double()
    erf = EffectiveReceptiveField(model, "first", input_layout=channels_last)
    field = erf.aggregate([((scale, IMAGES), 0)], input_index=1)
    plain = EffectiveReceptiveField(lambda images: model(scale, images), model.first, input_layout=channels_last)
    assert_close(field.values, plain.aggregate([IMAGES]).values)


def test_a_layout_that_drops_doubles_or_changes_numbers_is_refused():
    for layout in (
        lambda images: images[:, 1:].movedim(-1, 1),
        lambda images: images.movedim(-1, 1)[:, [0, 0, 1]],
        lambda images: images.movedim(-1, 1) / 255,
        lambda images: images.movedim(-1, 1).flip(0),
    ):
        erf = EffectiveReceptiveField(Moved(nn.Conv2d, 3, channels_last).double(), "last", input_layout=layout)
        with pytest.raises(ValueError, match="by more than moving their numbers about"):
            erf.aggregate([IMAGES])
    with pytest.raises(TypeError, match="input_layout gives a tuple"):
        InputLayout(lambda images: (images,)).read(IMAGES)


@pytest.mark.parametrize(
    ("layout", "recipe"),
    [("channels_last", "captum_erf.layouts.channels_last"), ("tokens", "tokens(prefix=0, grid=None)")],
)
def test_layouts_by_name_are_those_of_the_package(layout, recipe):
    model = nn.Conv2d(3, 2, 1)
    erf = EffectiveReceptiveField(model, "", layout=layout)
    assert repr(erf.layout) == recipe or erf.layout is channels_last


@pytest.mark.parametrize("layout", ["tokens:1", tokens(1)], ids=str)
def test_a_prefix_goes_with_the_name(layout):
    class Sequence(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last = nn.Conv2d(3, 4, 4, stride=4), nn.Identity()

        def forward(self, images):
            places = self.conv(images).flatten(2).mT
            return self.last(torch.cat([places[:, :1], places], 1))

    field = EffectiveReceptiveField(Sequence(), "last", layout=layout).aggregate([torch.randn(2, 3, 16, 16)])
    assert (field.grid, field.theoretical.size) == ((4, 4), (4, 4))


@pytest.mark.parametrize("name", ["layout", "input_layout"])
@pytest.mark.parametrize("wrong", ["NHWC", "tokens:a", 3, None], ids=str)
def test_a_layout_of_no_such_name(name, wrong):
    with pytest.raises(ValueError, match=rf'{name} must be "channels_first", channels_last, tokens\(\.\.\.\)'):
        EffectiveReceptiveField(nn.Conv2d(3, 2, 1), "", **{name: wrong})


@pytest.mark.parametrize(
    ("convolution", "shape", "size"),
    [
        (nn.Conv2d(3, 2, 3), (1, 3, 32, 32), (3, 3)),
        (nn.Conv1d(4, 2, 3), (1, 4, 32), (3,)),
        (nn.Conv3d(1, 2, 3), (1, 3, 32, 32), (3, 3, 3)),
        (nn.Conv3d(2, 2, 3), (1, 2, 8, 8, 8), (3, 3, 3)),
    ],
    ids=["images", "sound", "a volume of one channel", "a batch of one volume"],
)
def test_a_shape_with_a_batch_axis_of_one(convolution, shape, size):
    assert theoretical_receptive_field(convolution, "", shape).size == size


def test_a_list_of_layers_is_for_the_plural():
    with pytest.raises(TypeError, match="one layer, got a list of 2; use theoretical_receptive_fields"):
        theoretical_receptive_field(nn.Sequential(nn.Conv1d(1, 1, 3), nn.ReLU()), ["0", "1"], (1, 32))
