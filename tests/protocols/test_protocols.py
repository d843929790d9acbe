"""Each protocol against its formula, written out anew: a plain autograd loop, and sums over explicit squares."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit
from torch import nn

from captum_erf import EffectiveReceptiveField, ERFMap, protocols, tokens
from captum_erf.names import plain
from captum_erf.protocols import ENERGY, LUO2016, NEURAL_API, OPENERF, PROTOCOLS, REPLKNET, VMAMBA
from captum_erf.protocols.vmamba import fifth_root
from captum_erf.result.sums import Groups
from captum_erf.summaries import radius_mass

SIZES = {"even": (36, 36), "odd": (33, 33), "oblong": (28, 44)}


def natural_images(number, size, seed=0):
    """Noise with the 1/f spectrum of photographs, float64 of shape (number, 3, *size)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.fft.fft2(torch.randn(number, 3, *size, generator=generator, dtype=torch.float64))
    frequency = torch.hypot(*torch.meshgrid(*map(torch.fft.fftfreq, size), indexing="ij"))
    images = torch.fft.ifft2(noise / frequency.clamp_min(1 / max(size))).real
    return images / images.std()


def network(seed=0):
    """The even kernel puts the unit's centre between two pixels, away from (H // 2, W // 2)."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 5, 5, padding=2),
        nn.Tanh(),
        nn.Conv2d(5, 4, 3, padding=1),
    ).double()


def plain_gradients(net, images, scalar):
    """The gradient of ``scalar(values of the unit at grid // 2)`` for each image by itself."""
    gradients = []
    for image in images:
        x = image[None].clone().requires_grad_()
        y = net(x)
        scalar(y[0, :, y.shape[2] // 2, y.shape[3] // 2]).backward()
        gradients.append(x.grad[0].numpy())
    return np.array(gradients)


SCALARS = {
    "LUO2016": lambda values: values.sum(),
    "REPLKNET": lambda values: torch.relu(values).sum(),
    "OPENERF": lambda values: values.mean(),
    "NEURAL_API": lambda values: values[0],
    "VMAMBA": lambda values: values[values > 0].sum(),
    "ENERGY": lambda values: values.sum(),
}
MAPS = {
    "LUO2016": lambda g: np.abs(g).sum(1).mean(0),
    "REPLKNET": lambda g: np.maximum(g, 0).sum(1).mean(0),
    "OPENERF": lambda g: np.maximum(g.mean(1), 0).mean(0),
    "NEURAL_API": lambda g: np.abs(g).sum(1).mean(0),
    "VMAMBA": lambda g: np.where(g > 0, g, 0).sum(1).mean(0),
    "ENERGY": lambda g: (g**2).sum(1).mean(0),
}


@pytest.fixture(scope="module", params=SIZES)
def measured(request):
    """Every protocol's field and the map of the plain loop, for one size of image."""
    images = natural_images(13, SIZES[request.param])
    net = network()
    erf = EffectiveReceptiveField(net, "4")
    fields = {name: protocol.aggregate(erf, images.split(4)) for name, protocol in PROTOCOLS.items()}
    maps = {name: MAPS[name](plain_gradients(net, images, SCALARS[name])) for name in PROTOCOLS}
    return fields, maps


def synthetic(values, protocol):
    recipe = {key: plain(value) for key, value in protocol.settings.items()}
    return ERFMap(Groups.of(np.asarray([values], dtype=float)), "layer", None, recipe)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_one_live_sample_gives_numbers_without_errors(name):
    """Without its group the map is zero."""
    sums = np.stack([np.eye(9), np.zeros((9, 9))])
    field = replace(synthetic(sums.mean(0), PROTOCOLS[name]), groups=Groups.of(sums))
    report = PROTOCOLS[name].report(field)
    assert "±" not in repr(report)
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_map_equals_a_plain_loop(measured, name):
    fields, maps = measured
    np.testing.assert_allclose(fields[name].values, maps[name], rtol=1e-9, atol=1e-12 * maps[name].max())
    assert fields[name].num_samples == 13
    assert fields[name].recipe["protocol"] == name


def test_luo_counts_pixels_above_the_level(measured):
    fields, maps = measured
    report = LUO2016.report(fields["LUO2016"])
    values, center = maps["LUO2016"], fields["LUO2016"].center
    around = [(int(np.floor(c)), int(np.ceil(c))) for c in center]
    reference = max(values[y, x] for y, x in itertools.product(*around))
    size = np.sqrt((values > (1 - 0.9545) * reference).sum())
    assert report.threshold_size == pytest.approx(size, rel=1e-12)
    assert report.trf_size == (16, 16)
    assert report.ratio == pytest.approx(size / 16, rel=1e-12)


def explicit_square(drawn, t):
    """The loop of RepLKNet's and VMamba's tools over what they draw, slice by slice."""
    h, w = drawn.shape
    for i in range(1, min(h, w) // 2):
        area = drawn[h // 2 - i : h // 2 + 1 + i, w // 2 - i : w // 2 + 1 + i]
        if area.sum() / drawn.sum() > t:
            return i * 2 + 1, (i * 2 + 1) ** 2 / (h * w)
    return None, None


def test_replknet_equals_explicit_squares(measured):
    fields, maps = measured
    report = REPLKNET.report(fields["REPLKNET"])
    assert [row.share for row in report.rows] == [0.2, 0.3, 0.5, 0.99]
    for row in report.rows:
        assert (row.side, row.area) == pytest.approx(explicit_square(np.log10(maps["REPLKNET"] + 1), row.share))
        assert (row.scale_free_side, row.scale_free_area) == fields["REPLKNET"].square_share(row.share)


@pytest.mark.parametrize("size", [(9, 9), (10, 10), (12, 15), (31, 8)], ids=str)
@pytest.mark.parametrize("peak", [0.0, 3.0, 1e5])
def test_replknet_on_maps_without_a_small_square(size, peak):
    values = np.random.default_rng(0).random(size)
    values[0, 0] += peak
    rows = REPLKNET.report(synthetic(values, REPLKNET)).rows
    expected = [explicit_square(np.log10(values + 1), row.share) for row in rows]
    assert [(row.side, row.area) for row in rows] == expected
    assert expected[-1] == (None, None)


def test_replknet_warns_of_the_scale_and_gives_numbers_without_it():
    y, x = np.mgrid[:64, :64]
    values = 1e-3 + 1e2 * np.exp(-0.5 * ((y - 32) ** 2 + (x - 32) ** 2) / 16)
    report = REPLKNET.report(synthetic(values, REPLKNET))
    larger = REPLKNET.report(synthetic(1e4 * values, REPLKNET))
    assert larger.rows[0].area > 1.5 * report.rows[0].area
    assert report.area_of_larger_gradients == larger.rows[0].area
    sides = [row.scale_free_side for row in report.rows]
    assert [row.scale_free_side for row in larger.rows] == pytest.approx(sides, rel=1e-9)
    assert "log10(A + 1) is not scale-free" in str(report)
    assert f"{larger.rows[0].area:.4f}" in str(report)


def test_replknet_squares_start_at_three_pixels():
    values = np.zeros((16, 16))
    values[8, 8] = 1.0
    row = REPLKNET.report(synthetic(values, REPLKNET)).rows[0]
    assert (row.side, row.area) == (3, 9 / 256)


def test_replknet_report_says_none():
    values = np.zeros((16, 16))
    values[0, 0] = 1.0
    report = REPLKNET.report(synthetic(values, REPLKNET))
    assert report.rows[0].area is None
    assert "0.2    none    none" in str(report)


def test_openerf_equals_sums_over_discs(measured):
    fields, maps = measured
    report = OPENERF.report(fields["OPENERF"])
    values = maps["OPENERF"]
    height, width = values.shape
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height // 2, x - width // 2)
    shares = [values[distance <= radius].sum() / values.sum() for radius in range(5, 81, 5)]
    assert report.radii == tuple(range(5, 81, 5))
    assert report.shares == pytest.approx(shares, rel=1e-9)
    assert report.center_of_mass == pytest.approx([np.average(y, weights=values), np.average(x, weights=values)])
    assert report.argmax == np.unravel_index(values.argmax(), values.shape)


def test_openerf_gaussian_equals_an_independent_fit(measured):
    fields, maps = measured
    report = OPENERF.report(fields["OPENERF"])
    values = maps["OPENERF"] / maps["OPENERF"].max()
    places = np.indices(values.shape).reshape(2, -1)

    def gaussian(places, amplitude, mu_y, mu_x, sigma_y, sigma_x):
        y, x = places
        return amplitude * np.exp(-0.5 * (((y - mu_y) / sigma_y) ** 2 + ((x - mu_x) / sigma_x) ** 2))

    params, _ = curve_fit(gaussian, places, values.ravel(), p0=[1, *fields["OPENERF"].center, 4, 4])
    residuals = values.ravel() - gaussian(places, *params)
    assert report.sigmas == pytest.approx(np.abs(params[3:]), rel=1e-4)
    assert report.r2 == pytest.approx(1 - (residuals**2).sum() / ((values - values.mean()) ** 2).sum(), abs=1e-6)


def test_openerf_finds_sigmas_along_the_axes_of_a_gaussian():
    y, x = np.mgrid[:50, :60]
    values = np.exp(-0.5 * (((y - 24.3) / 3) ** 2 + ((x - 31.1) / 7) ** 2))
    report = OPENERF.report(synthetic(values, OPENERF))
    assert report.sigmas == pytest.approx((3, 7), rel=1e-6)
    assert report.r2 == pytest.approx(1)


def test_openerf_has_no_background_so_that_its_gaussian_is_wider_than_ours():
    y, x = np.mgrid[:50, :60]
    field = synthetic(0.1 + np.exp(-0.5 * (((y - 24) / 6) ** 2 + ((x - 31) / 6) ** 2)), OPENERF)
    assert min(OPENERF.report(field).sigmas) > 1.1 * field.gaussian_fit().sigma


@pytest.mark.parametrize(("side", "unit"), [(4, 1), (5, 2), (14, 6)])
def test_openerf_takes_the_upper_left_of_the_middle_tokens(side, unit):
    patches = nn.Sequential(nn.Conv2d(3, 6, 2, stride=2), nn.Flatten(2), Turned())
    erf = EffectiveReceptiveField(patches, "2", layout=tokens())
    field = OPENERF.aggregate(erf, [torch.rand(2, 3, 2 * side, 2 * side)])
    assert field.position == (unit, unit)
    assert OPENERF.report(field).num_samples == 2


class Turned(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def test_openerf_of_a_constant_map_has_shares_and_no_gaussian():
    report = OPENERF.report(synthetic(np.ones((20, 20)), OPENERF))
    assert (report.sigmas, report.r2) == (None, None)
    assert report.shares[-1] == 1.0


def test_neural_api_equals_sums_over_boxes(measured):
    fields, maps = measured
    report = NEURAL_API.report(fields["NEURAL_API"])
    values = maps["NEURAL_API"] * 13
    middle = [(length - 1) / 2 for length in values.shape]
    dy, dx = (np.abs(np.arange(length) - c) for length, c in zip(values.shape, middle, strict=True))
    distance = np.maximum(dy[:, None], dx[None, :])
    table = [(r, values[distance <= r].sum() / values.sum()) for r in np.unique(distance)]
    radius = next(r for r, share in table if share >= 0.9)
    assert report.radius == radius
    assert report.diameter == 2 * radius + 1
    assert report.trf_size == (16, 16)
    assert report.ratio == pytest.approx((2 * radius + 1) / 16)
    assert report.half_widths == (
        next(r for r in np.unique(dy) if values[dy <= r].sum() >= 0.9 * values.sum()),
        next(r for r in np.unique(dx) if values[:, dx <= r].sum() >= 0.9 * values.sum()),
    )
    variances = [(values * dy[:, None] ** 2).sum() / values.sum(), (values * dx**2).sum() / values.sum()]
    assert report.sigmas == pytest.approx(np.sqrt(variances), rel=1e-9)
    assert report.sigma == pytest.approx(np.sqrt(np.mean(variances)), rel=1e-9)
    lines = report.to_csv().splitlines()
    assert lines[0] == "radius,mass_fraction"
    assert lines[1 : len(table) + 1] == [f"{r:g},{share:.8f}" for r, share in table]
    assert [line.partition(",")[2] for line in lines[len(table) + 1 :]] == ["1.00000000"] * (
        len(lines) - 1 - len(table)
    )


def test_neural_api_lists_radii_up_to_the_side_of_the_input():
    lines = NEURAL_API.report(synthetic(np.ones((13, 13)), NEURAL_API)).to_csv().splitlines()
    assert [line.partition(",")[0] for line in lines[1:]] == [str(radius) for radius in range(14)]


def test_vmamba_equals_explicit_squares_of_what_its_figure_draws(measured):
    fields, maps = measured
    report = VMAMBA.report(fields["VMAMBA"])
    drawn = (maps["VMAMBA"] / maps["VMAMBA"].max()) ** (1 / 5)
    np.testing.assert_allclose(fifth_root(fields["VMAMBA"].values), drawn, rtol=1e-6, atol=1e-6)
    for row in report.rows:
        assert (row.side, row.area) == pytest.approx(explicit_square(drawn, row.share))
        assert (row.scale_free_side, row.scale_free_area) == fields["VMAMBA"].square_share(row.share)
    values = maps["VMAMBA"]
    assert report.half_drawn == pytest.approx(values[values >= values.max() / 32].sum() / values.sum())


def test_vmamba_is_free_of_scale_and_draws_faint_tails_large():
    y, x = np.mgrid[:65, :65]
    values = np.exp(-0.5 * ((y - 32) ** 2 + (x - 32) ** 2) / 16)
    report, larger = (VMAMBA.report(synthetic(scale * values, VMAMBA)) for scale in (1, 1e4))
    assert [row.side for row in report.rows] == [row.side for row in larger.rows]
    half = report.rows[2]
    assert half.side == pytest.approx(
        half.scale_free_side * np.sqrt(5), abs=2
    )  # a Gaussian's fifth root is sqrt(5) as wide
    assert report.half_drawn == pytest.approx(1 - 1 / 32, abs=0.01)  # what a Gaussian holds above 1/32 of its peak
    assert "(A / max A)^0.2" in str(report)


def test_energy_equals_sums_of_squares(measured):
    fields, maps = measured
    report = ENERGY.report(fields["ENERGY"])
    values, center = maps["ENERGY"], fields["ENERGY"].center
    dy, dx = (np.abs(np.arange(length) - c) for length, c in zip(values.shape, center, strict=True))
    assert report.energy == pytest.approx(values.sum())
    assert report.diameters == pytest.approx([radius_mass(values).diameter(share) for share in (0.5, 0.9, 0.95)])
    variances = [(values * dy[:, None] ** 2).sum() / values.sum(), (values * dx**2).sum() / values.sum()]
    assert report.sigmas == pytest.approx(np.sqrt(variances))


WITH_ERRORS = {
    "LUO2016": lambda report: (report.ratio, report.ratio_se),
    "REPLKNET": lambda report: (report.rows[2].scale_free_area, report.rows[2].scale_free_area_se),
    "OPENERF": lambda report: (report.shares[1], report.shares_se[1]),
    "NEURAL_API": lambda report: (report.sigma, report.sigma_se),
    "VMAMBA": lambda report: (report.half_drawn, report.half_drawn_se),
    "ENERGY": lambda report: (report.sigmas[0], report.sigmas_se[0]),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_standard_errors_are_the_jackknife_over_samples(measured, name):
    field = measured[0][name]
    report, with_error = PROTOCOLS[name].report, WITH_ERRORS[name]
    rest = np.array([with_error(report(other))[0] for other in field.leave_one_out()])
    assert len(rest) == 10
    assert with_error(report(field))[1] == pytest.approx(np.sqrt(9 / 10 * ((rest - rest.mean()) ** 2).sum()), abs=1e-12)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_report_prints_and_goes_through_json(measured, name):
    report = PROTOCOLS[name].report(measured[0][name])
    row = report.to_dict()
    assert row["protocol"] == name
    assert json.loads(json.dumps(row)) == row
    assert str(report).startswith(f"{name} (")
    assert "13 samples" in repr(report)
    assert "±" in str(report)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_report_of_one_group_has_no_standard_errors(name):
    y, x = np.mgrid[:20, :20]
    field = synthetic(np.exp(-np.hypot(y - 9, x - 9) / 2), PROTOCOLS[name])
    report = PROTOCOLS[name].report(field)
    assert "±" not in str(report)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_report_of_a_saved_field_is_the_same(measured, name, tmp_path):
    field = measured[0][name]
    field.save(tmp_path / "field.npz")
    assert PROTOCOLS[name].report(ERFMap.load(tmp_path / "field.npz")) == PROTOCOLS[name].report(field)


@pytest.mark.parametrize("window", ["auto", False])
def test_replknet_needs_no_whole_input(window):
    images = natural_images(3, (64, 64))
    erf = EffectiveReceptiveField(network(), "4")
    field = REPLKNET.aggregate(erf, [images], window=window)
    expected = MAPS["REPLKNET"](plain_gradients(network(), images, SCALARS["REPLKNET"]))
    assert field.recipe["route"].startswith("window (" if window else "whole input")
    np.testing.assert_allclose(field.values, expected, rtol=1e-9, atol=1e-12 * expected.max())


@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_other_numbers_of_axes(name, dims):
    torch.manual_seed(0)
    conv = {1: nn.Conv1d, 3: nn.Conv3d}[dims]
    net = nn.Sequential(conv(2, 3, 3, padding=1), nn.ReLU(), conv(3, 3, 3, padding=1))
    field = PROTOCOLS[name].aggregate(EffectiveReceptiveField(net, "2"), torch.randn(3, 2, *[14] * dims).split(1))
    report = PROTOCOLS[name].report(field)
    assert report.input_size == (14,) * dims
    assert str(report)


def test_replknet_cube_is_measured_over_the_volume():
    values = np.zeros((12, 12, 12))
    values[4:9, 4:9, 4:9] = 1.0
    row = REPLKNET.report(synthetic(values, REPLKNET)).rows[-1]
    assert (row.side, row.area) == (5, 5**3 / 12**3)


# Refusals.


@pytest.mark.parametrize("name", PROTOCOLS)
def test_report_refuses_a_field_measured_otherwise(measured, name):
    other = "ENERGY" if name != "ENERGY" else "LUO2016"
    with pytest.raises(ValueError, match=rf"{name} needs .*protocols\.{name}\.aggregate\(erf, dataloader\)"):
        PROTOCOLS[name].report(measured[0][other])


def test_report_takes_a_field_measured_alike_without_the_protocol():
    erf = EffectiveReceptiveField(network(), "4")
    images = natural_images(2, (24, 24))
    assert NEURAL_API.report(erf.aggregate([images], channel=0)).num_samples == 2
    with pytest.raises(ValueError, match="NEURAL_API needs channel 0, this field was measured with None"):
        NEURAL_API.report(erf.aggregate([images]))


def test_files_of_version_0_1_name_the_functions_of_their_protocol():
    field = ERFMap.load(Path(__file__).parents[1] / "fixtures" / "resnet18-layer1-0.1.npz")
    assert field.recipe["channel"] == "captum_erf.protocols.channel_mean"
    assert OPENERF.report(field).num_samples == 4
    with pytest.raises(ValueError, match="REPLKNET needs channel"):
        REPLKNET.report(field)


def test_report_refuses_another_unit():
    erf = EffectiveReceptiveField(network(), "4")
    field = erf.aggregate([natural_images(2, (24, 24))], channel=0, position="corner")
    with pytest.raises(ValueError, match=r"about the centre unit \(6, 6\), this field is that of unit \(0, 0\)"):
        NEURAL_API.report(field)


def test_report_refuses_a_field_of_a_neuron_selector():
    erf = EffectiveReceptiveField(network(), "4")
    field = erf.aggregate([natural_images(2, (24, 24))], neuron_selector=(0, 1, 1))
    with pytest.raises(ValueError, match="LUO2016 needs neuron_selector None"):
        LUO2016.report(field)


@pytest.mark.parametrize(
    ("protocol", "option"),
    [
        (LUO2016, {"magnitude": "square"}),
        (REPLKNET, {"channel": 0}),
        (REPLKNET, {"position": "corner"}),
        (NEURAL_API, {"neuron_selector": 0}),
    ],
    ids=str,
)
def test_aggregate_refuses_what_it_fixes(protocol, option):
    key = next(iter(option))
    with pytest.raises(ValueError, match=f"{protocol.name} fixes {key}; drop {key}="):
        protocol.aggregate(EffectiveReceptiveField(network(), "4"), [], **option)


def test_what_is_not_fixed_stays_open():
    erf = EffectiveReceptiveField(network(), "4")
    images = natural_images(4, (40, 40))
    field = ENERGY.aggregate(erf, [images], channel="random", position="corner", max_samples=3, window=False)
    assert (field.num_samples, field.position, field.recipe["channel"]) == (3, (0, 0), "random")
    assert ENERGY.report(field).energy > 0


def test_aggregate_says_what_it_takes():
    with pytest.raises(
        TypeError, match="takes an EffectiveReceptiveField, or a function that makes one, got a Sequential"
    ):
        LUO2016.aggregate(network(), [])


def test_every_protocol_is_named():
    assert set(PROTOCOLS) == {"LUO2016", "REPLKNET", "OPENERF", "NEURAL_API", "VMAMBA", "ENERGY"}
    for name, protocol in PROTOCOLS.items():
        assert getattr(protocols, name) is protocol
        assert protocol.report_type.protocol == protocol.name == name
