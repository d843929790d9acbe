"""The result: its numbers and their errors, its report, and its file."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from captum_erf import EffectiveReceptiveField, ERFMap, summaries
from captum_erf.result.sums import Groups
from captum_erf.text import number

# DESIGN.md, section 3
PLACE = ["layer", "position", "grid", "input_size", "num_samples", "num_dead", "stride", "trf_size", "outside"]
MEASURED = [
    *["displacement", "diameter_50", "diameter_90", "diameter_95", "equivalent_width", "tail_ratio"],
    *["extent_50", "extent_90", "gaussian_sigma", "gaussian_angle", "gaussian_r2"],
    *["threshold_size", "effective_pixels", "effective_samples", "erf_to_trf"],
]
KEYS = {*PLACE, "center", "center_source", *MEASURED, *[f"{key}_se" for key in MEASURED]}


def measure(model, layer, *shape, samples=12, groups=3, **arguments):
    torch.manual_seed(0)
    erf = EffectiveReceptiveField(model.eval(), layer)
    return erf.aggregate([torch.randn(samples, *shape)], groups=groups, **arguments)


def conv2d():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 5, padding=2), nn.Tanh(), nn.Conv2d(6, 6, 5, 2, padding=2))


KINDS = {
    "2-D": lambda: measure(conv2d(), "2", 2, 20, 24),
    "corner": lambda: measure(conv2d(), "2", 2, 20, 24, position="corner"),
    "1-D": lambda: measure(nn.Sequential(nn.Conv1d(2, 4, 9), nn.Tanh(), nn.Conv1d(4, 4, 3)), "2", 2, 50),
    "3-D": lambda: measure(nn.Sequential(nn.Conv3d(1, 4, 3), nn.Tanh(), nn.Conv3d(4, 4, 3)), "2", 1, 7, 8, 9),
    "global": lambda: measure(nn.Sequential(conv2d(), nn.GroupNorm(1, 6)), "1", 2, 16, 16, channel=0),
    "no grid": lambda: measure(
        nn.Sequential(conv2d(), nn.Flatten(), nn.Linear(6 * 64, 3)), "2", 2, 16, 16, neuron_selector=1
    ),
    "one sample": lambda: measure(conv2d(), "2", 2, 20, 24, samples=1),
    "one group": lambda: measure(conv2d(), "2", 2, 20, 24, groups=1),
    "one pixel": lambda: measure(nn.Sequential(nn.Conv2d(2, 2, 1)), "0", 2, 16, 16),
    "signed": lambda: measure(conv2d(), "2", 2, 20, 24, magnitude="signed"),
    "callables": lambda: measure(
        conv2d(), "2", 2, 20, 24, channel=lambda v: v.relu().sum(1), magnitude=lambda g: g.abs().amax(1)
    ),
}
kinds = pytest.mark.parametrize("kind", KINDS)
FIELDS = {}


def made(kind):
    if kind not in FIELDS:
        FIELDS[kind] = KINDS[kind]()
    return FIELDS[kind]


@pytest.fixture
def field(kind):
    return made(kind)


@kinds
def test_the_summary_is_one_row_of_plain_json(field):
    row = field.summary()
    assert row.keys() == KEYS
    assert json.loads(json.dumps(row, allow_nan=False)) == row


@kinds
def test_what_has_a_value_has_an_error_where_there_are_groups(kind, field):
    row = field.summary()
    for key in MEASURED:
        has_error = row[f"{key}_se"] is not None
        assert has_error == (row[key] is not None and kind not in ("one sample", "one group")), key


def test_the_summary_holds_the_units_place_and_field():
    row = made("corner").summary()
    assert row["layer"] == "2"
    assert (row["position"], row["grid"], row["input_size"]) == ([0, 0], [10, 12], [20, 24])
    assert (row["stride"], row["trf_size"]) == ([2, 2], [9, 9])
    assert (row["center"], row["center_source"]) == ([0.0, 0.0], "theoretical")
    assert row["outside"] == pytest.approx(1 - 25 / 81)
    assert (row["num_samples"], row["num_dead"]) == (12, 0)
    assert row["erf_to_trf"] == row["diameter_95"] / 9
    assert np.shape(row["extent_50"]) == (2, 2)
    assert len(row["extent_50_se"]) == 2
    assert len(row["displacement"]) == len(row["displacement_se"]) == 2


@pytest.mark.parametrize("kind", ["global", "no grid"])
def test_where_nothing_tells_the_unit_centre_it_is_measured(kind):
    field = made(kind)
    middles = [(lower + upper) / 2 for lower, upper in field.radius_mass().box(0.5)]
    assert (list(field.center), field.center_source) == (middles, "measured")
    assert field.displacement == (0.0, 0.0)
    assert field.summary()["erf_to_trf"] is None


def test_a_centre_is_measured_on_global_axes_alone():
    trf = dataclasses.replace(made("2-D").theoretical, cell_axes=(True, False), center=(1.0, 2.0))
    field = dataclasses.replace(made("2-D"), theoretical=trf)
    (lower, upper), _ = field.radius_mass().box(0.5)
    assert (field.center, field.center_source) == (((lower + upper) / 2, 2.0), "mixed")


def test_without_shares_a_centre_cannot_be_measured():
    field = made("global")
    signed = dataclasses.replace(field, groups=dataclasses.replace(field.groups, sums=-field.groups.sums))
    assert (signed.center, signed.center_source) == (field.theoretical.center, "grid cell")
    assert (dataclasses.replace(signed, theoretical=None).center_source) == "input"


def test_a_unit_without_a_grid_has_no_place():
    row = made("no grid").summary()
    assert all(row[key] is None for key in ("position", "grid", "stride", "trf_size", "outside", "erf_to_trf"))


def test_a_signed_map_has_no_shares_but_a_fit():
    row = made("signed").summary()
    assert row["diameter_50"] is None
    assert row["effective_pixels"] is None
    assert row["gaussian_r2"] is not None
    with pytest.raises(ValueError, match="negative values"):
        made("signed").radius_mass()


def test_methods_are_the_summaries_of_the_map_around_the_unit_centre():
    field = made("corner")
    values, center = field.values, field.center
    curve = field.radius_mass("euclidean")
    expected = summaries.radius_mass(values, center, "euclidean")
    assert_array_equal(curve.mass, expected.mass)
    assert field.radius_mass().diameter(0.5) == summaries.radius_mass(values).diameter(0.5)
    for place in ("unit", center):
        assert field.radius_mass(center=place).diameter(0.5) == summaries.radius_mass(values, center).diameter(0.5)
    assert field.radius_mass(center=(3, 4)).diameter(0.5) == summaries.radius_mass(values, (3, 4)).diameter(0.5)
    assert field.equivalent_width() == summaries.equivalent_width(values)
    assert field.tail_ratio() == summaries.tail_ratio(values)
    assert field.gaussian_fit().covariance.tolist() == summaries.gaussian_fit(values, center).covariance.tolist()
    assert_array_equal(field.moments().centroid, summaries.moments(values).centroid)
    assert field.threshold_size() == summaries.threshold_size(values, center, 1 - 0.9545)
    assert field.threshold_size(0.5) == summaries.threshold_size(values, center, 0.5)
    assert field.square_share(0.3) == summaries.square_share(values, center, 0.3)
    assert field.effective_pixels() == summaries.effective_pixels(values)
    assert field.threshold_size(reference="cell") == summaries.threshold_size(values, center, cell=(2, 2))
    assert [shape.family for shape in field.compare_shapes()] == [
        shape.family for shape in summaries.compare_shapes(values, center)
    ]


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda field: field.radius_mass(center="middle"), 'center must be None, "unit" or a pixel position'),
        (lambda field: field.threshold_size(reference="box"), 'reference must be "pixel" or "cell", got \'box\''),
        (lambda field: field.extent(0.5, spacing=-1.0), "spacing must be a positive length, or one per axis, got -1.0"),
        (lambda field: field.extent(0.5, spacing=(1, 2, 3)), r"one per axis, got \(1, 2, 3\)"),
        (lambda field: field.share_of_theory(np.ones((3, 3))), r"expected mean squares of shape \(20, 24\)"),
    ],
    ids=["center", "reference", "spacing", "spacings", "prediction"],
)
def test_arguments_that_make_no_sense_are_refused(use, message):
    with pytest.raises(ValueError, match=message):
        use(made("2-D"))


def test_r2_is_that_over_the_theoretical_field_and_half_of_it_around():
    field = made("2-D")
    part = tuple(
        slice(max(low - 5, 0), min(high + 5, length))
        for low, high, length in zip(field.theoretical.lower, field.theoretical.upper, (20, 24), strict=True)
    )
    assert field.theoretical.size == (9, 9)
    assert field.gaussian_fit().r2 == summaries.gaussian_fit(field.values, field.center, part).r2


def test_the_error_of_an_extent_is_that_of_its_length():
    field = made("2-D")
    lengths, error = field.estimate(lambda f: np.diff(f.extent(0.5)).ravel())
    assert_allclose(field.summary()["extent_50_se"], error)
    assert f"({number(lengths[0], error[0])})" in str(field)


def causal(kernel, padding):
    model = nn.Sequential(nn.ConstantPad1d(padding, 0.0), nn.Conv1d(1, 1, kernel, bias=False))
    nn.init.ones_(model[1].weight)
    return EffectiveReceptiveField(model, "1").aggregate([torch.randn(4, 1, 40)], position=(30,))


@pytest.mark.parametrize(("padding", "ends"), [((8, 0), (-8.5, 0.5)), ((4, 4), (-4.5, 4.5))], ids=["causal", "even"])
def test_extent_says_how_far_back_and_ahead(padding, ends):
    field = causal(9, padding)
    assert_allclose(field.extent(1.0), [ends])
    assert_allclose(field.extent(1.0, spacing=0.5), [np.multiply(ends, 0.5)])
    assert_allclose(field.radius_mass().diameter(0.5), 4.5)


def gaussian_maps(count, seed, width=0.15, size=31):
    """Sample maps of a Gaussian with noise that is never negative."""
    rng, squares = np.random.default_rng(seed), np.square(np.indices((size, size)) - size // 2).sum(0)
    return np.exp(-squares / 50) * rng.gamma(width**-2, width**2, size=(count, size, size))


def test_statistics_that_noise_moves_one_way_are_corrected_by_the_jackknife():
    truth = ERFMap(Groups.of(gaussian_maps(10, 0, 1e-3)), "x", None, {})
    noisy = [ERFMap(Groups.of(gaussian_maps(10, seed, 0.8)), "x", None, {}).summary() for seed in range(8)]
    for key, raw in (("gaussian_r2", truth.gaussian_fit().r2), ("effective_pixels", truth.effective_pixels())):
        found = np.array([row[key] for row in noisy])
        assert abs(found.mean() - raw) < 3 * found.std(ddof=1) / len(found) ** 0.5 + 0.003 * raw
    plain = [ERFMap(Groups.of(gaussian_maps(10, seed, 0.8)), "x", None, {}).effective_pixels() for seed in range(8)]
    assert np.mean(plain) < 0.97 * truth.effective_pixels()


def test_effective_samples_tell_whether_few_carry_the_mean():
    field = squares(4, [1.0, 1.0, 1.0, 5.0])
    assert field.summary()["effective_samples"] == pytest.approx(64 / 28)
    assert squares(3, [2.0] * 7).summary()["effective_samples"] == pytest.approx(7)


def test_share_of_theory_is_one_for_a_map_that_is_as_predicted():
    values = gaussian_maps(1, 0, 1e-3)[0]
    prediction = (3 * values) ** 2
    field = ERFMap(Groups.of(gaussian_maps(10, 1, 1e-3)), "x", None, {"magnitude": "abs"})
    assert field.share_of_theory(prediction) == pytest.approx(1, abs=1e-4)
    noisy = ERFMap(Groups.of(gaussian_maps(10, 1, 0.5)), "x", None, {"magnitude": "abs"})
    residual = noisy.values - values * (noisy.values * values).sum() / np.square(values).sum()
    plain = 1 - np.square(residual).sum() / np.square(noisy.values - noisy.values.mean()).sum()
    assert plain < 0.98 < noisy.share_of_theory(prediction)
    assert field.share_of_theory(np.roll(prediction, 9, 0)) < 0.2
    signed = ERFMap(field.groups, "x", None, {"magnitude": "signed"})
    with pytest.raises(ValueError, match="no prediction for magnitude 'signed'"):
        signed.share_of_theory(prediction)


def pair(images, **options):
    torch.manual_seed(3)
    nets = [nn.Sequential(nn.Conv2d(1, 8, k, padding=k // 2), nn.Tanh(), nn.Conv2d(8, 4, 3, padding=1)) for k in (3, 5)]
    return [EffectiveReceptiveField(net, "2").aggregate(images, **options) for net in nets]


def test_a_paired_difference_is_that_of_the_numbers_and_its_error_that_of_the_pairs():
    small, large = pair(torch.randn(5, 4, 1, 16, 16))
    value, error = large.difference(small, lambda field: field.equivalent_width())
    assert value == large.equivalent_width() - small.equivalent_width()
    pairs = zip(large.leave_one_out(), small.leave_one_out(), strict=True)
    rest = np.array([one.equivalent_width() - other.equivalent_width() for one, other in pairs])
    assert error == pytest.approx(np.sqrt(0.9 * np.square(rest - rest.mean()).sum()))
    ratio, log_error = large.ratio(small, lambda field: field.equivalent_width())
    assert ratio == pytest.approx(large.equivalent_width() / small.equivalent_width())
    assert log_error == pytest.approx(error / large.equivalent_width(), rel=0.5)
    assert small.difference(small, lambda field: field.values.sum()) == (0.0, 0.0)
    assert small.ratio(small, lambda field: -1.0) == (None, None)


def test_pairs_are_of_the_same_samples_in_the_same_order():
    images = torch.randn(5, 4, 1, 16, 16)
    small, _ = pair(images)
    others = {
        "other samples": pair(images + 1)[1],
        "another order": pair(images.flip(0))[1],
        "fewer": pair(images[:4])[1],
        "other groups": pair(images, groups=5)[1],
    }
    for other in others.values():
        with pytest.raises(ValueError, match="did not see the same samples in the same order"):
            small.difference(other, lambda field: field.values.sum())
    assert small.difference(pair(images.flatten(0, 1).split(3))[1], lambda field: field.values.sum())[1] > 0


def test_a_resumed_measurement_is_paired_with_one_in_one_go():
    images = torch.randn(5, 4, 1, 16, 16)
    small, large = pair(images)
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 4, 3, padding=1))
    begun, resumed = (EffectiveReceptiveField(net, "2").accumulator() for _ in range(2))
    for batch in images[:2]:
        begun.update(batch)
    resumed.load_state_dict(begun.state_dict())
    for batch in images[2:]:
        resumed.update(batch)
    (again,) = resumed.compute()
    assert again.difference(small, lambda field: field.equivalent_width()) == (pytest.approx(0, abs=1e-6),) * 2
    assert large.difference(again, lambda field: field.equivalent_width())[1] > 0
    (half,) = begun.compute()
    with pytest.raises(ValueError, match="did not see the same samples in the same order \\(20 here, 8 there\\)"):
        large.difference(half, lambda field: field.values.sum())


def test_images_with_names_are_paired_however_a_network_wants_them_prepared(tmp_path):
    images = torch.randn(12, 1, 16, 16)
    names = [f"{number // 2}.png" for number in range(12)]
    batches = [(images[n : n + 4], names[n : n + 4]) for n in range(0, 12, 4)]
    small, _ = pair(batches, get_groups=lambda batch: batch[1])
    _, large = pair([(2 * batch + 1, words) for batch, words in batches], get_groups=lambda batch: batch[1])
    assert small.groups.counts.tolist() == [2] * 6 + [0] * 4
    assert large.difference(small, lambda field: field.equivalent_width())[1] > 0
    large.save(tmp_path / "large.npz")
    assert ERFMap.load(tmp_path / "large.npz").difference(small, lambda field: field.num_samples) == (0, 0.0)
    assert "over 6 images (12 samples), in 6 groups; a 95 % interval is 2.57 of them" in str(small)


def test_maps_of_version_0_1_know_no_samples():
    old = ERFMap.load(Path(__file__).parents[1] / "fixtures" / "resnet18-layer1-0.1.npz")
    assert old.summary()["effective_samples"] is None
    assert old.summary()["diameter_50"] > 1
    with pytest.raises(ValueError, match=r"does not know its samples, as version 0\.1"):
        old.difference(old, lambda field: field.values.sum())


def squares(groups, numbers, dead=()):
    """A field whose sample maps are the given numbers at one pixel each: the gradient of v^2 / 2 is v."""
    model = nn.Sequential(nn.Conv1d(1, 1, 1, bias=False))
    nn.init.ones_(model[0].weight)
    inputs = torch.zeros(len(numbers), 1, 9)
    inputs[:, 0, 4] = torch.tensor(numbers, dtype=torch.float32)
    return EffectiveReceptiveField(model, "0").aggregate(
        inputs.split(4), channel=lambda v: v.square().sum(1) / 2, groups=groups
    )


NUMBERS = [1.0, 5.0, 2.0, 8.0, 3.0, 3.0, 13.0, 1.0, 4.0, 6.0, 2.0]


def test_with_a_group_per_sample_the_error_of_the_mean_is_the_textbooks():
    value, error = squares(len(NUMBERS), NUMBERS).estimate(lambda field: field.values[4])
    assert value == pytest.approx(np.mean(NUMBERS))
    assert error == pytest.approx(np.std(NUMBERS, ddof=1) / len(NUMBERS) ** 0.5)


@pytest.mark.parametrize("groups", [2, 3, 4, 10])
def test_the_jackknife_by_hand(groups):
    """Group g holds the samples n with n modulo G = g; unequal groups are left out as they are."""
    numbers = np.array(NUMBERS)
    group = np.arange(len(numbers)) % groups
    estimates = [np.log(numbers[group != left_out].mean()) for left_out in range(groups)]
    expected = np.sqrt((groups - 1) / groups * np.sum((estimates - np.mean(estimates)) ** 2))
    value, error = squares(groups, NUMBERS).estimate(lambda field: np.log(field.values[4]))
    assert value == pytest.approx(np.log(numbers.mean()))
    assert error == pytest.approx(expected)


@pytest.mark.parametrize(("groups", "numbers"), [(1, NUMBERS), (10, [3.0])], ids=["one group", "one sample"])
def test_fewer_than_two_groups_have_no_error(groups, numbers):
    value, error = squares(groups, numbers).estimate(lambda field: field.values[4])
    assert value == pytest.approx(np.mean(numbers))
    assert error is None


def test_fewer_samples_than_groups_leave_empty_groups_out():
    _, error = squares(10, [1.0, 3.0]).estimate(lambda field: field.values[4])
    assert error == pytest.approx(np.std([1, 3], ddof=1) / 2**0.5)


def test_the_share_of_dead_samples_has_the_error_of_a_share():
    numbers = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0]
    value, error = squares(8, numbers).estimate(lambda field: field.num_dead / field.num_samples)
    assert value == 3 / 8
    assert error == pytest.approx(np.std(numbers, ddof=1) / 8**0.5)


def test_a_statistic_without_a_value_has_no_error():
    field = squares(3, NUMBERS)
    assert field.estimate(lambda field: None) == (None, None)
    assert field.estimate(lambda f: 1.0 if f is field else None) == (1.0, None)


def test_a_statistic_that_one_group_alone_makes_possible_has_no_error():
    """Without the only sample that is not dead the map is zero, and its box undefined."""
    field = squares(3, [0.0, 7.0, 0.0, 0.0])
    assert field.estimate(lambda field: field.radius_mass().diameter(0.5)) == (0.5, None)
    assert field.summary()["diameter_50_se"] is None


@pytest.mark.parametrize("breaks", [lambda f: True, lambda f: f.num_samples < 4], ids=["whole map", "leave-one-out"])
def test_errors_of_the_users_statistic_are_not_hidden(breaks):
    def statistic(field):
        if breaks(field):
            raise ValueError("broken statistic")
        return 1.0

    with pytest.raises(ValueError, match="broken statistic"):
        squares(3, NUMBERS[:4]).estimate(statistic)


def test_arrays_and_dicts_are_estimated_entry_by_entry():
    field = made("2-D")
    value, error = field.estimate(lambda f: {"sum": f.values.sum(), "columns": f.values.sum(0), "none": None})
    assert_array_equal(value["columns"], field.values.sum(0))
    assert error["columns"][7] == pytest.approx(field.estimate(lambda f: f.values.sum(0)[7])[1])
    assert error["sum"] == pytest.approx(field.estimate(lambda f: f.values.sum())[1])
    assert error["none"] is None
    values, errors = field.estimate(lambda f: f.values)
    assert values.shape == errors.shape == (20, 24)


def test_a_map_is_fitted_once(monkeypatch):
    """The map and its four maps without a group; summary, report and figure share the fits."""
    calls = []
    fit = summaries.gaussian_fit
    monkeypatch.setattr(summaries, "gaussian_fit", lambda *args: calls.append(args) or fit(*args))
    field = measure(conv2d(), "2", 2, 20, 24, groups=4)
    field.summary()
    str(field)
    field.plot()
    field.estimate(lambda other: other.gaussian_fit().r2)
    assert len(calls) == 5


def test_errors_of_the_summary_are_those_of_estimate():
    field = made("2-D")
    row = field.summary()
    statistics = {
        "diameter_50": lambda f: f.radius_mass().diameter(0.5),
        "threshold_size": lambda f: f.threshold_size(),
        "tail_ratio": lambda f: f.tail_ratio(),
        "gaussian_sigma": lambda f: f.gaussian_fit().sigma,
    }
    for key, statistic in statistics.items():
        assert (row[key], row[f"{key}_se"]) == pytest.approx(field.estimate(statistic))
    assert row["effective_pixels_se"] > 0


def test_an_angle_near_the_turn_has_a_small_error():
    """Directions of 89 and -89 degrees are two degrees apart."""
    rows, columns = np.mgrid[-10:11, -10:11]
    maps = []
    for degrees in (89.0, -89.0, 89.5, -89.5):
        along = np.cos(np.radians(degrees)) * columns - np.sin(np.radians(degrees)) * rows
        across = np.sin(np.radians(degrees)) * columns + np.cos(np.radians(degrees)) * rows
        maps.append(np.exp(-0.5 * (along**2 / 16 + across**2 / 4)))
    plain = made("2-D")
    trf = dataclasses.replace(plain.theoretical, center=(10.0, 10.0))
    field = ERFMap(Groups.of(np.array(maps)), "x", trf, {})
    row = field.summary()
    assert abs(abs(row["gaussian_angle"]) - 90) < 1
    assert 0 < row["gaussian_angle_se"] < 3


@kinds
def test_save_and_load_return_everything(field, tmp_path):
    field.save(tmp_path / "field.npz")
    loaded = ERFMap.load(tmp_path / "field.npz")
    assert (loaded.layer, loaded.theoretical, loaded.recipe) == (field.layer, field.theoretical, field.recipe)
    for item in dataclasses.fields(Groups):
        before, after = getattr(field.groups, item.name), getattr(loaded.groups, item.name)
        assert_array_equal(after, before)
        assert type(after) is type(before)
    assert_array_equal(loaded.values, field.values)
    assert loaded.summary() == field.summary()


def test_the_file_holds_no_pickle(tmp_path):
    field = made("2-D")
    field.save(str(tmp_path / "field.npz"))
    with np.load(tmp_path / "field.npz", allow_pickle=False) as stored:
        assert all(stored[key].dtype != object for key in stored.files)
        assert json.loads(str(stored["header"]))["version"] == 3


def test_save_refuses_to_overwrite_unless_told(tmp_path):
    path = tmp_path / "field.npz"
    first, second = made("2-D"), made("1-D")
    first.save(path)
    with pytest.raises(FileExistsError, match=r"field\.npz exists; choose another name or pass overwrite=True"):
        second.save(path)
    assert ERFMap.load(path).values.shape == first.values.shape
    second.save(path, overwrite=True)
    assert ERFMap.load(path).values.shape == second.values.shape


def test_save_wants_its_own_ending(tmp_path):
    with pytest.raises(ValueError, match=r"save writes \.npz files, got .*field\.csv'; name it field\.npz"):
        made("2-D").save(tmp_path / "field.csv")
    assert list(tmp_path.iterdir()) == []


def test_load_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        ERFMap.load(tmp_path / "nothing.npz")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_load_of_a_truncated_file(share, tmp_path):
    path = tmp_path / "field.npz"
    made("2-D").save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"is no file that ERFMap\.save wrote, or a damaged one"):
        ERFMap.load(path)


def header_as(path, change):
    """The file again with its header changed."""
    with np.load(path) as stored:
        arrays = dict(stored)
    header = change(json.loads(str(arrays["header"])))
    np.savez(path, **{**arrays, "header": np.array(json.dumps(header))})


def arrays_as(path, **changes):
    """The file again with some of its arrays changed."""
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **arrays | {key: change(arrays[key]) for key, change in changes.items()})


FOREIGN = {
    "values of another size": lambda path: arrays_as(path, values=lambda values: values[:-1]),
    "values that are not finite": lambda path: arrays_as(path, values=lambda values: values * np.nan),
    "groups that are not finite": lambda path: arrays_as(path, group_sums=lambda sums: sums * np.inf),
    "fewer groups": lambda path: arrays_as(path, group_counts=lambda counts: counts[1:]),
    "groups outside the input": lambda path: header_as(path, lambda header: {**header, "group_offset": [900, 0]}),
    "fewer fingerprints": lambda path: arrays_as(path, group_prints=lambda prints: prints[1:]),
    "text": lambda path: path.write_text("not a map"),
    "other arrays": lambda path: np.savez(path, values=np.zeros(3)),
    "pickled": lambda path: np.savez(path, header=np.array([{"a": 1}], dtype=object)),
    "header of another kind": lambda path: header_as(path, lambda header: [1, 2]),
    "header without version": lambda path: header_as(path, lambda h: {k: v for k, v in h.items() if k != "version"}),
    "header without a part": lambda path: header_as(path, lambda h: {k: v for k, v in h.items() if k != "theoretical"}),
    "field of another kind": lambda path: header_as(path, lambda header: {**header, "theoretical": {"size": 3}}),
}


@pytest.mark.parametrize("write", FOREIGN.values(), ids=FOREIGN)
def test_load_of_a_foreign_file(write, tmp_path):
    path = tmp_path / "field.npz"
    made("2-D").save(path)
    write(path)
    with pytest.raises(ValueError, match=r"field\.npz is no file that ERFMap\.save wrote, or a damaged one"):
        ERFMap.load(path)


def test_load_of_another_schema_version(tmp_path):
    path = tmp_path / "field.npz"
    made("2-D").save(path)
    header_as(path, lambda header: {"version": 99})
    with pytest.raises(
        ValueError, match="has schema version 99, this captum-erf reads versions 2 and 3; install the captum-erf"
    ):
        ERFMap.load(path)


def test_the_result_is_frozen():
    field = made("2-D")
    for name in ("groups", "layer", "theoretical"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(field, name, None)


def test_the_report_tells_what_was_measured_and_where():
    report = str(made("corner"))
    row = made("corner").summary()
    for part in (
        "Effective receptive field of layer '2', unit (0, 0) of 10 x 12",
        "mean |dy/dx| over 12 samples of 20 x 24 (0 dead)",
        "sum over all channels",
        "9 x 9 px, 69.1 % of it outside the input",
        "stride             2 x 2 px",
        "unit centre        (0, 0), onto which the unit projects",
        f"50 % of the mass   {number(row['diameter_50'], row['diameter_50_se'])} px square",
        f"ERF / TRF          {number(row['erf_to_trf'], row['erf_to_trf_se'])}; ",
        f"{row['diameter_95'] / 5:.2f} of the 5 px of the TRF that lie inside the input",
        "px from the unit's cell",
        "threshold size",
        "effective pixels",
        "± one standard error over 12 samples, in 3 groups; a 95 % interval is 4.30 of them to both sides.",
    ):
        assert part in report


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("global", "global: every input position can influence the unit"),
        ("global", "measured: the middle of the box that holds half of the map"),
        ("no grid", "neuron_selector 1"),
        ("signed", "mean dy/dx over 12 samples"),
        ("one group", "No standard errors: all samples are in one group."),
    ],
)
def test_the_report_of_other_kinds(kind, part, field):
    assert part in str(field)


@kinds
def test_every_kind_has_a_short_repr_and_a_report(field):
    assert repr(field) == f"ERFMap(layer={field.layer!r}, position={field.position}, num_samples={field.num_samples})"
    assert len(str(field).splitlines()) > 8
    assert "None" not in str(field)
    assert max(map(len, str(field).splitlines())) <= 180


def test_reports_without_errors_claim_none():
    assert "±" not in str(made("one sample"))
    assert "None" not in str(made("one sample"))
    assert "±" in str(made("2-D"))


def drawn(values, **changes):
    """A map of ten alike groups with a theoretical field of 41 x 41 around its middle."""
    trf = dataclasses.replace(made("2-D").theoretical, **{"stride": (8, 8), "input_size": values.shape, **changes})
    return ERFMap(Groups.of(np.stack([values] * 10)), "x", trf, {})


def test_a_gaussian_that_does_not_fit_is_not_printed_as_a_number():
    checks = np.indices((20, 24)).sum(0) % 2 + 0.01
    row = drawn(checks).summary()
    assert row["gaussian_r2"] < 0.5
    assert (row["gaussian_sigma"], row["gaussian_sigma_se"], row["gaussian_angle"]) == (None, None, None)
    report = str(drawn(checks))
    assert "Gaussian sigma     none that fits" in report
    assert "No Gaussian describes this map (R² 0." in report


def test_the_map_of_a_shortcut_is_said_to_be_one():
    values = np.zeros((60, 60))
    values[28:34, 28:34] = 1.0
    found = {"lower": (0, 0), "upper": (60, 60), "size": (60, 60), "center": (30.5, 30.5)}
    assert "90 % of the map lies in one cell of 8 px" in str(drawn(values, **found))
    assert "one cell" not in str(drawn(np.ones((60, 60)), **found))


def test_a_gaussian_on_the_units_own_patch_of_a_global_field_is_said_to_be_one():
    values = np.full((64, 64), 0.02)
    values[30:36, 30:36] = 1.0
    found = {"global_axes": (True, True), "lower": (0, 0), "upper": (64, 64), "size": (64, 64)}
    assert "The Gaussian fits the unit's own patch of 8 px" in str(drawn(values, **found))
    assert "own patch" not in str(drawn(gaussian_maps(1, 0, 1e-3, 65)[0], **found))


def test_a_mean_that_few_samples_carry_is_said_to_be_one():
    numbers = [1.0] * 38 + [30.0, 40.0]
    assert "Few samples carry this mean: 40 count as 5 alike" in str(squares(10, numbers))
    assert "Few samples" not in str(squares(10, [2.0, 1.0] * 20))


def test_the_measured_centre_of_an_even_map_is_said_to_say_little():
    uneven = gaussian_maps(10, 0, 1e-3)
    assert "nearly even over the whole input" in str(ERFMap(Groups.of(1 + uneven / 20), "x", None, {}))
    assert "nearly even" not in str(ERFMap(Groups.of(uneven), "x", None, {}))


def test_errors_over_crops_of_one_photograph_say_so():
    recipe = {"num_images": None, "error_over": "12 crops of 1 photograph"}
    report = str(dataclasses.replace(made("2-D"), recipe=recipe))
    assert "over 12 crops of 1 photograph, in 3 groups" in report
    assert "They say how the numbers vary between its crops, not between photographs." in report
    assert "crops" not in str(made("2-D"))
