"""Where scales are merged, boxes jump from unit to unit: unit centres, halos, and the table of many layers."""

import pytest
import torch
import torch.nn.functional as F
from oracle import hull
from torch import nn

from captum_erf import theoretical_receptive_field, theoretical_receptive_fields


class UNet(nn.Module):
    """Three times down by two and up again, with skips."""

    def __init__(self, dims=2):
        super().__init__()
        conv = {1: nn.Conv1d, 2: nn.Conv2d}[dims]
        self.pool = {1: F.max_pool1d, 2: F.max_pool2d}[dims]
        self.down = nn.ModuleList(conv(1 if i == 0 else 2, 2, 3, padding=1) for i in range(4))
        self.up = nn.ModuleList(conv(4, 2, 3, padding=1) for _ in range(3))

    def forward(self, x):
        skips = []
        for conv in self.down[:-1]:
            skips.append(conv(x))
            x = self.pool(skips[-1], 2)
        x = self.down[-1](x)
        for conv in self.up:
            x = conv(torch.cat([F.interpolate(x, scale_factor=2), skips.pop()], 1))
        return x


class Neck(nn.Module):
    """A feature pyramid: the finest map plus the one of four times its stride."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Conv2d(1, 2, 4, stride=4)
        self.coarse = nn.Sequential(nn.Conv2d(2, 2, 5, stride=4, padding=2), nn.Upsample(scale_factor=4))

    def forward(self, x):
        fine = self.fine(x)
        return fine + self.coarse(fine)


def test_the_centre_of_a_merged_unit_is_the_mean_over_a_period():
    boxes = [hull(Neck(), (128, 32), 0, (unit, 4), channels=1) for unit in range(12, 16)]
    assert len(set(boxes)) == 2, "units share what the coarse branch sees"
    offset = sum((low + high - 1) / 2 - 4 * u for u, (low, high) in zip(range(12, 16), boxes, strict=True)) / 4
    for unit in (12, 13, 14, 15, 17):
        field = theoretical_receptive_field(Neck(), "", (1, 128, 128), (unit, unit))
        assert field.center == pytest.approx((offset + 4 * unit,) * 2)
        assert field.center_source == "theoretical"


def test_centres_move_by_the_stride_where_boxes_do_not():
    model = UNet()
    fields = [theoretical_receptive_field(model, "", (1, 128, 128), (unit, 64)) for unit in (61, 62, 63, 64, 65)]
    assert len({field.lower[0] for field in fields}) == 2
    assert [field.center for field in fields] == [(float(unit), 64.0) for unit in (61, 62, 63, 64, 65)]


def test_a_centre_at_the_border_is_that_of_its_place_in_the_period():
    corner = theoretical_receptive_field(Neck(), "", (1, 128, 128), "corner")
    inner = theoretical_receptive_field(Neck(), "", (1, 128, 128), (16, 16))
    assert corner.center == tuple(center - 64 for center in inner.center)


@pytest.mark.parametrize("dims", [1, 2])
def test_the_halo_of_a_unet_is_the_furthest_reach_of_a_period(dims):
    model, length, units = UNet(dims), 160, range(76, 84)
    size = (length, 16)[:dims]
    boxes = [hull(model, size, 0, (unit, 8)[:dims], channels=1) for unit in units]
    before = max(unit - low for unit, (low, _) in zip(units, boxes, strict=True))
    after = max(high - unit - 1 for unit, (_, high) in zip(units, boxes, strict=True))
    (field,) = theoretical_receptive_fields(model, [""], (1, *[length] * dims))
    assert field.halo == ((before, after),) * dims
    reach_of_one = [field.position[0] - field.lower[0], field.upper[0] - 1 - field.position[0]]
    assert min(reach_of_one) < before, "one unit does not tell"


def test_tiles_with_the_halo_are_exact_and_with_less_are_not():
    model = UNet(1).double().eval()
    (field,) = theoretical_receptive_fields(model, [""], (1, 256))
    ((before, after),) = field.halo
    signal = torch.randn(1, 1, 256, dtype=torch.float64)

    def tile(start, stop, margin_before, margin_after):
        low, high = start - margin_before, stop + margin_after
        return model(signal[..., low // 8 * 8 : -(-high // 8) * 8])[..., start - low // 8 * 8 :][..., : stop - start]

    with torch.no_grad():
        whole = model(signal)[..., 102:160]
        assert torch.allclose(tile(102, 160, before, after), whole, atol=1e-12)
        assert not torch.allclose(tile(102, 160, before - 8, after), whole, atol=1e-12)


def test_the_halo_of_a_chain_with_strides_counts_from_the_cell():
    net = nn.Sequential(nn.Conv1d(1, 1, 7, stride=2, padding=3), nn.Conv1d(1, 1, 3, stride=2, padding=1))
    first, second = theoretical_receptive_fields(net, ["0", "1"], (1, 64))
    assert first.halo == ((3, 2),)  # unit u sees [2u - 3, 2u + 4), its cell is [2u, 2u + 2)
    assert second.halo == ((5, 2),)  # unit u sees [4u - 5, 4u + 6), its cell is [4u, 4u + 4)


def test_all_layers_with_a_grid_make_a_table():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.Flatten(),
        nn.Linear(1024, 5),
    )  # fmt: skip
    table = theoretical_receptive_fields(net, input_shape=(3, 32, 32))
    assert table.layers == ("0", "1", "2", "3")
    assert [field.size for field in table] == [(3, 3), (3, 3), (4, 4), (8, 8)]
    for layer, field in zip(table.layers, table, strict=True):
        alone = theoretical_receptive_field(net, layer, (3, 32, 32))
        assert (field.lower, field.upper, field.center) == (alone.lower, alone.upper, alone.center)
    lines = str(table).splitlines()
    assert len(lines) == 5
    assert "16 x 16" in lines[-1] and "8 x 8" in lines[-1] and "(16.5, 16.5)" in lines[-1]
    assert table["3"] is table[-1]
    with pytest.raises(KeyError, match="no layer '9' in the table; it has '0', '1'"):
        table["9"]


def test_layers_used_twice_or_blind_to_the_input_are_not_listed():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act, self.bias = nn.Conv1d(1, 1, 3, padding=1), nn.ReLU(), nn.Conv1d(1, 1, 1)

        def forward(self, x):
            return self.act(self.conv(self.act(x))) + self.bias(torch.ones_like(x))

    table = theoretical_receptive_fields(Twice(), input_shape=(1, 32))
    assert table.layers == ("conv", "")
    assert [line.split()[0] for line in repr(table).splitlines()] == ["layer", "conv", "(network)"]


def test_the_halo_of_what_sees_everything_is_unknown():
    net = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.GroupNorm(1, 2))
    first, second = theoretical_receptive_fields(net, input_shape=(1, 64))[:2]
    assert (first.halo, second.halo, second.is_global) == (((1, 1),), None, True)


def test_the_table_needs_an_input():
    with pytest.raises(TypeError, match="input_shape is missing"):
        theoretical_receptive_fields(nn.Conv1d(1, 1, 3), ["0"])
    with pytest.raises(TypeError, match="name them"):
        theoretical_receptive_fields(lambda x: x, input_shape=(1, 8))
