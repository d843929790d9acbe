"""Axes of inputs and outputs that may be read in two ways are refused, with both readings named."""

import pytest
import torch
from torch import nn

from captum_erf import EffectiveReceptiveField, channels_last


class Mixed(nn.Module):
    """Every token sees all others."""

    def forward(self, tokens):
        return tokens.tanh() + tokens.mean(1, keepdim=True)


class Encoder(nn.Module):
    """Learnt positions for one length, as in Whisper's encoder: 64 tokens, before and after a block."""

    def __init__(self, channels, block):
        super().__init__()
        self.conv, self.positions = nn.Conv1d(4, channels, 4, 4), nn.Parameter(torch.randn(64, channels))
        self.norm, self.block, self.turned = nn.Identity(), block, nn.Identity()

    def forward(self, sound):
        return self.turned(self.block(self.norm(self.conv(sound).mT + self.positions)).mT)


SOUND = torch.randn(2, 4, 256, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [32, 128])
@pytest.mark.parametrize(("layer", "axes"), [("block", (64, "channels")), ("turned", ("channels", 64))])
def test_a_fixed_length_does_not_tell_which_axis_is_the_grid(channels, layer, axes):
    first, last = (channels if axis == "channels" else axis for axis in axes)
    both = rf"\(N, L, C\).*{first} units of {last} channels.*\(N, C, L\), {last} units of {first} channels"
    with pytest.raises(ValueError, match=both):
        EffectiveReceptiveField(Encoder(channels, Mixed()), layer).aggregate([SOUND])
    layout = channels_last if layer == "block" else lambda output: output
    field = EffectiveReceptiveField(Encoder(channels, Mixed()), layer, layout=layout).aggregate([SOUND])
    assert field.grid == (64,)


@pytest.mark.parametrize("channels", [32, 128])
def test_the_axis_along_which_units_see_other_parts_of_a_fixed_length_is_the_grid(channels):
    model = Encoder(channels, nn.Tanh())
    with pytest.raises(ValueError, match=r"last axis looks like the channels. Pass layout=captum_erf.channels_last"):
        EffectiveReceptiveField(model, "block").aggregate([SOUND])
    for layer, layout in (("block", channels_last), ("turned", "channels_first")):
        field = EffectiveReceptiveField(model, layer, layout=layout).aggregate([SOUND])
        assert (field.grid, field.radius_mass().diameter(1.0)) == ((64,), pytest.approx(4))


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, images):
        return self.conv(images.permute(0, 3, 1, 2))


class Frames(nn.Module):
    """Frame by frame, with learnt places of one size and one number of frames."""

    def __init__(self):
        super().__init__()
        self.conv, self.places = nn.Conv3d(3, 8, 4, 4), nn.Parameter(torch.randn(8, 2, 4, 4))

    def forward(self, clips):
        return self.conv(clips.transpose(1, 2)) + self.places


@pytest.mark.parametrize(
    ("model", "layer", "inputs", "way", "layout"),
    [
        (Images(), "conv", torch.randn(2, 32, 32, 3), r"captum_erf.channels_last", channels_last),
        (
            nn.Sequential(nn.Linear(16, 8)),
            "0",
            torch.randn(2, 30, 16),
            r"captum_erf.channels_last",
            channels_last,
        ),
        (
            Frames(),
            "",
            torch.randn(2, 8, 3, 16, 16),
            r"lambda inputs: inputs.movedim\(2, 1\)",
            lambda inputs: inputs.movedim(2, 1),
        ),
    ],
    ids=["(N, H, W, C)", "(N, T, F)", "(N, T, C, H, W)"],
)
def test_channels_that_stand_among_the_spatial_axes(model, layer, inputs, way, layout):
    reading = channels_last if inputs.ndim == 3 else "channels_first"
    with pytest.raises(ValueError, match=rf"pass input_layout={way}; if axis 1 really is the channels"):
        EffectiveReceptiveField(model, layer, layout=lambda output: output).aggregate([inputs])
    field = EffectiveReceptiveField(model, layer, layout=reading, input_layout=layout).aggregate([inputs])
    assert field.theoretical.input_size == layout(inputs).shape[2:]


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Conv3d(4, 2, 3), (4, 3, 12, 12)),
        (nn.Conv2d(4, 2, (1, 3)), (4, 1, 30)),
        (nn.Conv2d(64, 2, 3, padding=1), (64, 3, 3)),
        (nn.AvgPool2d(2), (6, 8, 8)),
    ],
    ids=["three slices", "one row", "few pixels", "any number of channels"],
)
def test_channels_first_inputs_are_not_questioned(model, shape):
    assert EffectiveReceptiveField(model, "").aggregate([torch.randn(2, *shape)]).num_samples == 2
