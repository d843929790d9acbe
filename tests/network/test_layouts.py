"""Layouts: how a layer's output is read as units on a grid."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captum_erf import EffectiveReceptiveField, channels_last, tokens

OUTPUT = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))


def test_channels_last_moves_the_last_axis_to_the_second():
    assert_close(channels_last(OUTPUT.permute(0, 2, 3, 1)), OUTPUT)
    assert channels_last(torch.zeros(2, 9, 7)).shape == (2, 7, 9)


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_tokens_fold_row_by_row_after_the_prefix(prefix):
    rows = OUTPUT.flatten(2).movedim(1, 2)
    sequence = torch.cat([torch.full((2, prefix, 3), 9.0), rows], 1)
    assert_close(tokens(prefix, grid=(4, 5))(sequence), OUTPUT)


def test_tokens_make_a_square_unless_told_otherwise():
    sequence = torch.arange(16.0).reshape(1, 16, 1)
    assert tokens()(sequence).tolist() == [torch.arange(16.0).reshape(1, 4, 4).tolist()]
    assert tokens(grid=(16,))(sequence).shape == (1, 1, 16)
    assert tokens(grid=(2, 2, 4))(sequence).shape == (1, 1, 2, 2, 4)
    assert tokens(grid=[2, 8])(sequence).shape == (1, 1, 2, 8)


@pytest.mark.parametrize(
    ("layout", "shape", "message"),
    [
        (tokens(), (2, 197, 8), "197 tokens less prefix=0 leave 197, which do not fold into a square; set prefix="),
        (tokens(1), (2, 196, 8), "196 tokens less prefix=1 leave 195"),
        (tokens(grid=(4, 4)), (2, 17, 8), r"do not fold into the grid \(4, 4\)"),
        (tokens(9), (2, 5, 8), "5 tokens less prefix=9 leave -4"),
        (tokens(), (2, 8, 4, 4), r"tokens\(\) reads \(N, L, C\), got an output of shape \(2, 8, 4, 4\)"),
    ],
    ids=["class token left in", "prefix too many", "wrong grid", "prefix beyond the end", "no tokens"],
)
def test_tokens_that_do_not_fold(layout, shape, message):
    with pytest.raises(ValueError, match=message):
        layout(torch.zeros(shape))


class Transposed(nn.Module):
    """The same convolutions with outputs in other layouts."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, stride=4)
        self.last, self.sequence, self.pair = nn.Identity(), nn.Identity(), Pair()

    def forward(self, images):
        features = self.conv(images)
        self.last(features.permute(0, 2, 3, 1))
        self.pair(features)
        rows = features.flatten(2).movedim(1, 2)
        return self.sequence(torch.cat([torch.zeros_like(rows[:, :1]), rows], 1))


class Pair(nn.Module):
    def forward(self, features):
        return "hidden", features


@pytest.mark.parametrize(
    ("layer", "layout"),
    [
        ("last", channels_last),
        ("last", lambda output: output.permute(0, 3, 1, 2)),
        ("sequence", tokens(prefix=1)),
        ("sequence", tokens(1, (8, 8))),
        ("pair", lambda output: output[1]),
    ],
    ids=["channels_last", "callable", "tokens", "tokens with a grid", "picked from a tuple"],
)
def test_every_layout_reads_the_same_unit(layer, layout):
    model, inputs = Transposed(), torch.randn(2, 3, 32, 32)
    expected = EffectiveReceptiveField(model, "conv").attribute(inputs, position=(2, 6), channel=1)
    erf = EffectiveReceptiveField(model, layer, layout=layout)
    assert_close(erf.attribute(inputs, position=(2, 6), channel=1), expected)
    field = erf.aggregate([inputs], position=(2, 6), channel=1)
    assert (field.grid, field.theoretical.size, field.center) == ((8, 8), (4, 4), (9.5, 25.5))
    assert_close(torch.tensor(field.values), expected.sum(1).mean(0).double())


@pytest.mark.parametrize("method", ["attribute", "aggregate"])
def test_what_is_no_grid_is_refused_with_the_fix(method):
    model, inputs = Transposed(), torch.randn(2, 3, 32, 32)
    given = inputs if method == "attribute" else [inputs]
    with pytest.raises(ValueError, match=r"\(., 65, 6\).*pass layout=captum_erf\.tokens\(prefix="):
        getattr(EffectiveReceptiveField(model, "sequence"), method)(given)
    with pytest.raises(TypeError, match=r"Layer 'pair' gives a tuple, not a tensor; pass a callable layout"):
        getattr(EffectiveReceptiveField(model, "pair"), method)(given)
    with pytest.raises(
        ValueError, match=r'layout must be "channels_first", channels_last, tokens\(...\) or a callable'
    ):
        getattr(EffectiveReceptiveField(model, "conv", layout="NHWC"), method)(given)


def test_channels_last_outputs_are_not_taken_for_channels_first():
    """Read as (N, C, *grid), 8 x 8 units with 6 channels would be 8 channels of 8 x 6 units."""
    model, inputs = Transposed(), torch.randn(2, 3, 32, 32)
    with pytest.raises(ValueError, match=r"channels_last"):
        EffectiveReceptiveField(model, "last").aggregate([inputs])
