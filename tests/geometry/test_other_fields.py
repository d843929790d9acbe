"""Fields that other inputs do not show: they grow with the input, or are no product of their axes."""

import pytest
import torch
import torch.nn.functional as F
from oracle import hull, mean_map
from torch import nn

from captum_erf import EffectiveReceptiveField, theoretical_receptive_field, tokens


class Pyramid(nn.Module):
    """Pooling to a few bins and back: the field grows with the input."""

    def __init__(self, bins):
        super().__init__()
        self.before, self.after, self.bins = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1), bins

    def forward(self, x):
        pooled = F.adaptive_avg_pool2d(self.before(x), self.bins)
        return self.after(F.interpolate(pooled, x.shape[2:], mode="bilinear", align_corners=False))


@pytest.mark.parametrize(("bins", "size"), [(6, (64, 40)), (2, (48, 48)), (8, (64, 64))], ids=str)
@pytest.mark.parametrize("position", ["center", "corner", (0.3, 0.6)], ids=str)
def test_a_field_that_grows_with_the_input_is_that_of_the_input_itself(bins, size, position):
    torch.manual_seed(0)
    model = Pyramid(bins).eval()
    field = theoretical_receptive_field(model, "", (1, *size), position)
    boxes = [hull(model, size, axis, field.position, channels=1) for axis in (0, 1)]
    assert (field.lower, field.upper) == tuple(zip(*boxes, strict=True))
    inputs = torch.randn(3, 1, *size)
    measured = EffectiveReceptiveField(model, "").aggregate([inputs], position=position)
    assert abs(measured.values - mean_map(model, model, inputs, field.position)).max() <= 1e-5 * measured.values.max()


class RasterScan(nn.Module):
    """A causal scan of patches in the order of reading, as in Vision Mamba."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(1, 2, 4, stride=4)

    def forward(self, x):
        return self.patch(x).flatten(2).cumsum(2).transpose(1, 2)


@pytest.mark.parametrize(
    ("position", "lower", "upper"),
    [("corner", (0, 0), (4, 4)), ((0, 3), (0, 0), (4, 16)), ((2, 1), (0, 0), (12, 32)), ((5, 7), (0, 0), (24, 32))],
    ids=str,
)
def test_a_scan_in_raster_order_has_the_box_of_its_own_unit(position, lower, upper):
    field = theoretical_receptive_field(RasterScan(), "", (1, 24, 32), position, layout=tokens(grid=(6, 8)))
    assert (field.lower, field.upper) == (lower, upper)


class Unrolled(nn.Module):
    """Works along all pixels in a row, in the order of reading, between two convolutions."""

    def __init__(self, along):
        super().__init__()
        self.before, self.along, self.after = nn.Conv2d(1, 1, 3, padding=1), along, nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        x = self.before(x)
        return self.after(self.along(x.flatten(2)).reshape(x.shape))


class BlockScan(nn.Module):
    """Each unit sees what comes before it within its block of 8 x 8."""

    def forward(self, x):
        blocks = x.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)
        return blocks.flatten(4).cumsum(4).reshape(blocks.shape).transpose(3, 4).flatten(4).flatten(2, 3)


class Sum(nn.Module):
    def forward(self, x):
        return x.cumsum(-1)


UNROLLED = {
    "convolution": Unrolled(nn.Conv1d(1, 1, 3, padding=1)),
    "dilated": Unrolled(nn.Conv1d(1, 1, 3, padding=4, dilation=4)),
    "scan": Unrolled(Sum()),
    "scan in blocks": BlockScan(),
}


@pytest.mark.parametrize("size", [(24, 32), (32, 32)], ids=str)
@pytest.mark.parametrize("position", ["center", "corner", "edge", (0.4, 0.2), (1.0, 1.0)], ids=str)
@pytest.mark.parametrize("kind", UNROLLED)
def test_a_network_that_lays_out_pixels_in_a_row(kind, position, size):
    model = UNROLLED[kind].eval()
    field = theoretical_receptive_field(model, "", (1, *size), position)
    inside = [
        (max(low, 0), min(high, n)) for low, high, n in zip(field.lower, field.upper, field.input_size, strict=True)
    ]
    assert inside == [hull(model, size, axis, field.position, channels=1) for axis in (0, 1)]


def test_a_box_that_reaches_beyond_the_input_may_be_a_bound():
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), BlockScan())
    inner, outer = (theoretical_receptive_field(model, "", (1, 32, 32), position) for position in ((15, 15), (7, 7)))
    assert (inner.lower, inner.upper, inner.is_bound) == ((7, 7), (17, 17), False)
    assert (outer.lower, outer.upper, outer.is_bound) == ((-1, -1), (9, 9), True)
    assert "at most 10 x 10" in str(outer)
    plain = theoretical_receptive_field(nn.Conv2d(1, 1, 3, padding=1), "", (1, 32, 32), "corner")
    assert (plain.lower, plain.is_bound) == ((-1, -1), False)


@pytest.mark.parametrize("position", ["center", (1, 0.5)], ids=str)
def test_windows_of_a_network_that_lays_out_pixels_in_a_row(position):
    torch.manual_seed(0)
    model, inputs = Unrolled(nn.Conv1d(1, 1, 3, padding=1)).eval(), torch.randn(4, 1, 32, 32)
    field = EffectiveReceptiveField(model, "").aggregate([inputs], position=position)
    expected = mean_map(model, model, inputs, field.position)
    assert abs(field.values - expected).max() <= 1e-5 * expected.max()
