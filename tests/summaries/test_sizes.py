"""Box mass, moments and other papers' sizes against brute force and closed forms."""

import ast
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import captum_erf
from captum_erf import summaries, theory

PURE = [
    *(f"summaries/{name}" for name in ("sizes", "mass", "cubes", "pinned", "growth", "outside", "stepped")),
    *("summaries/shapes", "summaries/profiles", "summaries/arrays", "text", "theory/chains"),
]
shapes = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)
halves = st.integers(-6, 16).map(lambda number: number / 2)


@st.composite
def maps_and_centers(draw, coordinate):
    values = draw(arrays(np.float64, draw(shapes), elements=st.integers(0, 9).map(float)))
    values.flat[draw(st.integers(0, values.size - 1))] += 1
    return values, tuple(draw(coordinate) for _ in range(values.ndim))


def brute_mass(values, center, metric):
    order = np.inf if metric == "chebyshev" else 2
    distances = {
        pixel: round(float(np.linalg.norm(np.subtract(pixel, center), order)), 7) for pixel in np.ndindex(values.shape)
    }
    radii = sorted(set(distances.values()))
    within = [sum(values[pixel] for pixel in distances if distances[pixel] <= radius) for radius in radii]
    return radii, np.array(within) / values.sum()


@pytest.mark.parametrize("metric", ["chebyshev", "euclidean"])
@pytest.mark.parametrize("coordinate", [halves, st.floats(-3, 8)], ids=["half pixels", "anywhere"])
def test_radius_mass_equals_brute_force(metric, coordinate):
    @given(maps_and_centers(coordinate), st.floats(0.01, 1))
    def check(case, share):
        values, center = case
        center = tuple(round(number, 3) for number in center)
        curve = summaries.radius_mass(values, center, metric)
        radii, mass = brute_mass(values, center, metric)
        np.testing.assert_allclose(curve.radii, radii, atol=1e-6)
        np.testing.assert_allclose(curve.mass, mass, atol=1e-12)
        np.testing.assert_allclose(curve.beyond, 1 - mass, atol=1e-12)
        expected = radii[np.argmax(mass >= share - 1e-12)]
        assert curve.radius(share) == pytest.approx(expected, abs=1e-6)
        assert curve.diameter(share) == 2 * curve.radius(share) + 1

    check()


@given(maps_and_centers(halves))
def test_the_whole_mass_reaches_the_farthest_pixel_that_counts(case):
    values, center = case
    farthest = max(max(abs(np.subtract(pixel, center))) for pixel in zip(*np.nonzero(values), strict=True))
    curve = summaries.radius_mass(values, center)
    assert curve.radius(1.0) == farthest
    assert curve.mass[-1] == 1.0
    assert (np.diff(curve.mass) >= 0).all()


@pytest.mark.parametrize("num_dims", [1, 2, 3])
@pytest.mark.parametrize(("num_layers", "kernel_size"), [(5, 3), (3, 4), (6, 7)])
def test_mass_of_all_ones_convolutions_is_the_cumulative_sum_of_their_coefficients(num_dims, num_layers, kernel_size):
    line = theory.uniform_stack(num_layers, kernel_size, 1)
    values = theory.uniform_stack(num_layers, kernel_size, num_dims)
    middle = (len(line) - 1) / 2
    curve = summaries.radius_mass(values, (middle,) * num_dims)
    boxes = [line[i : len(line) - i].sum() ** num_dims for i in reversed(range((len(line) + 1) // 2))]
    np.testing.assert_allclose(curve.mass, boxes, rtol=1e-12)
    assert curve.diameter(1.0) == theory.theoretical_size([(kernel_size, 1, 1)] * num_layers)


def test_tails_fainter_than_rounding_count_towards_the_whole():
    assert summaries.radius_mass(theory.uniform_stack(100, 3, 1), (100,)).radius(1.0) == 100


@pytest.mark.parametrize("radius", range(7))
def test_a_share_that_a_box_holds_exactly_is_reached_despite_rounding(radius):
    values = np.full((15, 15), 0.1)
    share = (2 * radius + 1) ** 2 / 15**2
    curve = summaries.radius_mass(values, (7, 7))
    assert curve.radius(share) == radius
    assert curve.radius(share + 1e-6) == radius + 1


def test_radius_mass_of_a_center_far_outside():
    curve = summaries.radius_mass(np.ones((3, 4)), (1e7 + 0.5, 1))
    assert curve.radii.tolist() == [1e7 - 1.5, 1e7 - 0.5, 1e7 + 0.5]
    np.testing.assert_allclose(curve.mass, [1 / 3, 2 / 3, 1])


def test_centers_a_rounding_error_off_a_half_pixel_share_its_distances():
    near = summaries.radius_mass(np.ones((8, 8)), (3.5 - 1e-13, 3.5 + 1e-13))
    assert near.radii.tolist() == [0.5, 1.5, 2.5, 3.5]


def test_radius_mass_reads_as_a_report():
    text = repr(summaries.radius_mass(theory.uniform_stack(5, 3), (5, 5)))
    assert text == "RadiusMass(chebyshev: 50% within 5 px, 90% within 7 px, 95% within 9 px)"


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, float("nan")])
def test_shares_out_of_bounds_are_refused(share):
    with pytest.raises(ValueError, match="expected a share of the map's sum"):
        summaries.radius_mass(np.ones(5), (2,)).radius(share)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(5), (2,), "manhattan"), "got metric 'manhattan'; expected 'chebyshev' or 'euclidean'"),
        ((np.ones((5, 5)), (2,)), "expected 2 finite pixel positions"),
        ((np.ones(5), (np.nan,)), "expected 1 finite pixel positions"),
    ],
    ids=["metric", "axes", "nan"],
)
def test_radius_mass_refuses_what_it_cannot_measure(arguments, message):
    with pytest.raises(ValueError, match=message):
        summaries.radius_mass(*arguments)


MASS_SUMMARIES = {
    "radius_mass": lambda values: summaries.radius_mass(values, (0,) * np.ndim(values)),
    "moments": summaries.moments,
    "threshold_size": lambda values: summaries.threshold_size(values, (0,) * np.ndim(values)),
    "square_share": lambda values: summaries.square_share(values, (0,) * np.ndim(values), 0.5),
    "effective_pixels": summaries.effective_pixels,
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
@pytest.mark.parametrize("scale", [1e-300, 1e300])
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


@given(maps_and_centers(halves))
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


@given(maps_and_centers(halves), st.sampled_from([0.0, 0.0455, 0.5, 0.9]))
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


@given(maps_and_centers(halves), st.sampled_from([0.2, 0.3, 0.5, 0.99]))
def test_square_share_equals_brute_force(case, share):
    values, center = case
    side, covered = summaries.square_share(values, center, share)
    inside = [pixel for pixel in np.ndindex(values.shape) if max(abs(np.subtract(pixel, center))) <= (side - 1) / 2]
    assert side == summaries.radius_mass(values, center).diameter(share)
    assert covered == pytest.approx(len(inside) / values.size)
    assert sum(values[pixel] for pixel in inside) >= share * values.sum() - 1e-9


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 0.99])
def test_square_share_equals_the_loop_of_ding_et_al(share):
    values = theory.uniform_stack(12, 5)
    side = len(values)
    for half in range(side // 2 + 1):
        square = values[side // 2 - half : side // 2 + half + 1, side // 2 - half : side // 2 + half + 1]
        if square.sum() / values.sum() >= share:
            break
    expected = (2 * half + 1, (2 * half + 1) ** 2 / values.size)
    assert summaries.square_share(values, (side // 2,) * 2, share) == pytest.approx(expected)


def test_a_square_that_sticks_out_of_the_input_covers_no_more_than_the_input():
    assert summaries.square_share(np.ones((4, 4)), (0, 0), 1.0) == (7.0, 1.0)


@pytest.mark.parametrize("values", [np.eye(7), np.full((3, 5), 2.0), [0, 0, 4.0]], ids=["diagonal", "flat", "pixel"])
def test_effective_pixels_of_equal_pixels_is_their_number(values):
    assert summaries.effective_pixels(values) == pytest.approx(np.count_nonzero(values))


def test_effective_pixels_of_a_gaussian():
    y, x = np.mgrid[-40:41, -40:41]
    values = np.exp(-(y**2 + x**2) / (2 * 5**2))
    assert summaries.effective_pixels(values) == pytest.approx(4 * np.pi * 5**2)


def test_plain_lists_and_single_precision_are_maps_too():
    for values, center in product(([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]], np.float32)), ((0, 0), [1.0, 0.5])):
        assert summaries.radius_mass(values, center).mass[-1] == 1


@pytest.mark.parametrize("module", PURE)
def test_pure_functions_import_neither_torch_nor_scipy_at_the_top(module):
    tree = ast.parse((Path(captum_erf.__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
    names = {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert not {name.partition(".")[0] for name in names} & {"torch", "scipy", "captum"}
