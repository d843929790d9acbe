"""Moments and other papers' sizes against brute force and closed forms."""

import ast
from pathlib import Path

import numpy as np
import pytest
from drawn import HALVES, maps_and_centers
from hypothesis import given
from hypothesis import strategies as st

import captum_erf
from captum_erf import summaries, theory

WINGS = Path(captum_erf.__file__).parent
PURE = [*sorted(WINGS.glob("summaries/*.py")), WINGS / "text.py", WINGS / "theory" / "chains.py"]

MASS_SUMMARIES = {
    "moments": summaries.moments,
    "threshold_size": lambda values: summaries.threshold_size(values, (0,) * np.ndim(values)),
    "square_share": lambda values: summaries.square_share(values, (0,) * np.ndim(values), 0.5),
    "effective_pixels": summaries.effective_pixels,
    "radius_mass": summaries.radius_mass,
    "equivalent_width": summaries.equivalent_width,
    "tail_ratio": summaries.tail_ratio,
    "extent": lambda values: summaries.extent(values, 0.5),
}


@pytest.mark.parametrize("summary", MASS_SUMMARIES.values(), ids=MASS_SUMMARIES)
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, -0.5], r"negative values \(lowest -0.5\).*magnitude='abs'"),
        (np.zeros((3, 3)), "zero everywhere: every sample is dead"),
        ([1.0, np.inf, np.nan], "2 values that are not finite"),
        (np.ones((1, 1, 1, 1)), r"shape \(1, 1, 1, 1\); expected a map with 1, 2 or 3"),
        (np.ones((0, 3)), r"shape \(0, 3\); expected a map"),
    ],
    ids=["negative", "dead", "not finite", "four axes", "empty"],
)
def test_maps_without_shares_are_refused(summary, values, message):
    with pytest.raises(ValueError, match=message):
        summary(values)


@pytest.mark.parametrize("summary", MASS_SUMMARIES.values(), ids=MASS_SUMMARIES)
@pytest.mark.parametrize("scale", [2.0**-990, 2.0**990], ids=["tiny", "huge"])
def test_summaries_do_not_depend_on_the_unit_of_the_map(summary, scale):
    values = np.random.default_rng(0).random((6, 7))
    assert repr(summary(values * scale)) == repr(summary(values))


@pytest.mark.parametrize("num_dims", [1, 2, 3])
@pytest.mark.parametrize(("num_layers", "kernel_size"), [(1, 3), (5, 3), (4, 6)])
def test_moments_of_all_ones_convolutions(num_dims, num_layers, kernel_size):
    found = summaries.moments(theory.uniform_stack(num_layers, kernel_size, num_dims))
    sigma = theory.gaussian_sigma([(kernel_size, 1, 1)] * num_layers)
    np.testing.assert_allclose(found.sigmas, [sigma] * num_dims, rtol=1e-12)
    np.testing.assert_allclose(found.centroid, [num_layers * (kernel_size - 1) / 2] * num_dims, rtol=1e-12)


@given(maps_and_centers(HALVES))
def test_moments_equal_numpys_weighted_covariance(case):
    values, _ = case
    pixels = np.array(list(np.ndindex(values.shape)), dtype=float)
    weights = values.ravel().astype(int)
    found = summaries.moments(values)
    expected = np.atleast_2d(np.cov(pixels.T, ddof=0, fweights=weights))
    np.testing.assert_allclose(found.centroid, np.average(pixels, axis=0, weights=weights), atol=1e-12)
    np.testing.assert_allclose(found.covariance, expected, atol=1e-12)
    assert (np.diff(found.sigmas) <= 0).all()
    assert (found.angle is None) == (values.ndim != 2)


@pytest.mark.parametrize(
    ("pixels", "angle"),
    [([(2, 0), (2, 4)], 0), ([(0, 2), (4, 2)], 90), ([(4, 0), (0, 4)], 45), ([(0, 0), (4, 4)], -45)],
    ids=["right", "up", "upper right", "lower right"],
)
def test_angles_turn_counter_clockwise_as_seen(pixels, angle):
    values = np.zeros((5, 5))
    for pixel in pixels:
        values[pixel] = 1
    assert summaries.moments(values).angle == pytest.approx(angle)


def test_moments_read_as_a_report():
    assert repr(summaries.moments(np.ones(5))) == "Moments(centroid 2 px; sigmas 1.414 px)"


@given(maps_and_centers(HALVES), st.sampled_from([0.0, 0.0455, 0.5, 0.9]))
def test_threshold_size_equals_brute_force(case, level):
    values, center = case
    gaps = {pixel: np.abs(np.subtract(pixel, center)).sum() for pixel in np.ndindex(values.shape)}
    reference = max(values[pixel] for pixel in gaps if gaps[pixel] == min(gaps.values()))
    expected = sum(value > level * reference for value in values.ravel()) ** (1 / values.ndim)
    assert summaries.threshold_size(values, center, level) == pytest.approx(expected)


def test_threshold_size_counts_above_luos_level_unless_told():
    values = np.array([0.04, 0.046, 1.0, 0.045, 0.5])
    assert summaries.threshold_size(values, (2,)) == 3


@pytest.mark.parametrize("level", [-0.1, 1.0])
def test_threshold_levels_out_of_bounds_are_refused(level):
    with pytest.raises(ValueError, match="expected a share of the centre's value"):
        summaries.threshold_size(np.ones(3), (1,), level)


def test_threshold_size_of_a_cell_has_its_mean_for_a_reference():
    values = np.zeros((9, 9))
    values[4, 4], values[4, 5], values[5, 4], values[5, 5] = 1.0, 0.2, 0.2, 0.2
    values[0, :5] = 0.03
    assert summaries.threshold_size(values, (4, 4)) == 2.0
    assert summaries.threshold_size(values, (4.5, 4.5), cell=(2, 2)) == 3.0
    assert summaries.threshold_size(values, (4, 4), cell=(0.5, 0.5)) == summaries.threshold_size(values, (4, 4))


@given(maps_and_centers(HALVES), st.sampled_from([0.2, 0.3, 0.5, 0.99]))
def test_square_share_is_the_square_around_the_centre_and_what_it_covers_of_the_input(case, share):
    values, center = case
    side, covered = summaries.square_share(values, center, share)
    assert side == pytest.approx(summaries.radius_mass(values, center).diameter(share))
    fine = 16
    places = [(np.arange(fine * length) + 0.5) / fine - 0.5 for length in values.shape]
    inside = [np.mean(np.abs(line - middle) <= side / 2) for line, middle in zip(places, center, strict=True)]
    assert covered == pytest.approx(np.prod(inside), abs=2 / fine)
    assert 0 <= covered <= 1


def test_square_share_of_an_even_map_is_the_share():
    side, covered = summaries.square_share(np.ones((20, 20)), (9.5, 9.5), 0.5)
    assert side == pytest.approx(20 * 0.5**0.5)
    assert covered == pytest.approx(0.5)


def test_a_square_that_sticks_out_of_the_input_covers_no_more_than_the_input():
    assert summaries.square_share(np.ones((4, 4)), (0, 0), 1.0) == pytest.approx((7.0, 1.0))


@pytest.mark.parametrize("values", [np.eye(7), np.full((3, 5), 2.0), [0, 0, 4.0]], ids=["diagonal", "flat", "pixel"])
def test_effective_pixels_of_equal_pixels_is_their_number(values):
    assert summaries.effective_pixels(values) == pytest.approx(np.count_nonzero(values))


def test_effective_pixels_of_a_gaussian():
    y, x = np.mgrid[-40:41, -40:41]
    values = np.exp(-(y**2 + x**2) / (2 * 5**2))
    assert summaries.effective_pixels(values) == pytest.approx(4 * np.pi * 5**2)


@pytest.mark.parametrize("module", PURE, ids=lambda path: path.stem)
def test_pure_functions_import_neither_torch_nor_scipy_at_the_top(module):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    names = {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert not {name.partition(".")[0] for name in names} & {"torch", "scipy", "captum"}
