"""Box mass and the sizes made of it against closed forms and brute force over places."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from drawn import maps
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad

from captum_erf import theory
from captum_erf.summaries import equivalent_width, extent, radius_mass, tail_ratio

SHARES = (0.01, 0.3, 0.5, 0.9, 0.95, 0.999, 1.0)

shares = st.floats(0.001, 1)
positive = st.floats(0.05, 1)


def share_in_box(values, lower, upper):
    """The plain computation: every pixel times how much of it lies between the faces, axis by axis."""
    for axis, (low, high) in enumerate(zip(lower, upper, strict=True)):
        pixels = np.arange(values.shape[axis]).reshape(-1, *(1,) * (values.ndim - axis - 1))
        values = values * (np.minimum(high, pixels + 0.5) - np.maximum(low, pixels - 0.5)).clip(0, 1)
    return values.sum()


def brute_mass(values, side):
    """The best of all cubes with one face on a pixel's face along every axis."""
    faces = [np.arange(length + 1) - 0.5 for length in values.shape]
    places = product(*[[*line, *(line - side)] for line in faces])
    return max(share_in_box(values, low, np.add(low, side)) for low in places) / values.sum()


@pytest.mark.parametrize("num_dims", [1, 2, 3])
@pytest.mark.parametrize("margin", [0, 3], ids=["alone", "in a larger input"])
@pytest.mark.parametrize("share", SHARES)
def test_even_maps(num_dims, margin, share):
    curve = radius_mass(np.pad(np.full((5,) * num_dims, 0.1), margin))
    assert curve.diameter(share) == pytest.approx(5 * share ** (1 / num_dims), rel=1e-12)
    assert curve.radius(share) == curve.diameter(share) / 2
    assert curve.mass_at(curve.diameter(share)) == pytest.approx(share, rel=1e-12)


def test_a_stack_of_all_ones_convolutions():
    values = theory.uniform_stack(10, 3)
    for curve in (radius_mass(values), radius_mass(values, (10, 10))):
        assert [round(curve.diameter(share), 3) for share in (0.5, 0.9, 0.95)] == [5.542, 10.140, 11.466]


@pytest.mark.parametrize("num_dims", [1, 2, 3])
@pytest.mark.parametrize(("num_layers", "kernel_size"), [(5, 3), (3, 4), (4, 7)])
@pytest.mark.parametrize("share", SHARES)
def test_polynomial_maps_are_a_power_of_one_line(num_dims, num_layers, kernel_size, share):
    line = theory.uniform_stack(num_layers, kernel_size, 1)
    curve = radius_mass(theory.uniform_stack(num_layers, kernel_size, num_dims))
    faces, sums = np.arange(len(line) + 1) - len(line) / 2, np.append(0, np.cumsum(line))
    half = curve.diameter(share) / 2
    inside = np.interp(half, faces, sums) - np.interp(-half, faces, sums)
    assert inside**num_dims == pytest.approx(share, rel=1e-12)
    middle = (len(line) - 1) / 2
    np.testing.assert_allclose(curve.box(share), [(middle - half, middle + half)] * num_dims, atol=1e-9)


@given(maps(), st.floats(0, 6))
def test_mass_at_a_side_equals_brute_force_over_places(values, side):
    assert radius_mass(values).mass_at(side) == pytest.approx(brute_mass(values, side), abs=1e-12)


@given(maps(), shares)
def test_the_diameter_is_the_smallest_side_that_holds_the_share(values, share):
    side = radius_mass(values).diameter(share)
    assert brute_mass(values, side) >= share - 1e-9
    assert side == 0 or brute_mass(values, side * (1 - 1e-6) - 1e-9) < share


@given(maps(), shares)
def test_the_box_holds_the_share(values, share):
    curve = radius_mass(values)
    lower, upper = zip(*curve.box(share), strict=True)
    np.testing.assert_allclose(np.subtract(upper, lower), curve.diameter(share))
    assert share_in_box(values, lower, upper) >= (share - 1e-8) * values.sum()


@given(maps(), st.data())
def test_no_box_anywhere_holds_more(values, data):
    side = data.draw(st.floats(0, 6))
    lower = [data.draw(st.floats(-3, length)) for length in values.shape]
    inside = share_in_box(values, lower, np.add(lower, side)) / values.sum()
    assert inside <= radius_mass(values).mass_at(side) + 1e-12


@given(maps(positive), shares)
def test_sizes_are_continuous_in_the_share(values, share):
    curve = radius_mass(values)
    assert curve.mass_at(curve.diameter(share)) == pytest.approx(share, abs=1e-12)


@given(maps(), shares, shares)
def test_sizes_rise_with_the_share(values, one, other):
    curve = radius_mass(values)
    assert curve.diameter(min(one, other)) <= curve.diameter(max(one, other))


@given(maps(positive), st.floats(0.01, 0.99), st.data())
def test_sizes_are_continuous_in_the_map(values, share, data):
    change = data.draw(arrays(np.float64, values.shape, elements=st.floats(-1e-7, 1e-7)))
    curve, changed = radius_mass(values), radius_mass(values * (1 + change)).diameter(share)
    assert curve.diameter(share * (1 - 3e-7)) <= changed <= curve.diameter(min(share * (1 + 3e-7), 1))


@given(maps(), shares, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=3, max_size=3))
def test_sizes_do_not_depend_on_where_the_map_lies(values, share, margins):
    margins = margins[: values.ndim]
    curve, moved = radius_mass(values), radius_mass(np.pad(values, margins))
    assert moved.diameter(share) == pytest.approx(curve.diameter(share), rel=1e-12)
    lower, upper = np.transpose(moved.box(share))
    assert share_in_box(np.pad(values, margins), lower, upper) == pytest.approx(share * values.sum(), rel=1e-9)
    assert moved.equivalent_width() == pytest.approx(curve.equivalent_width(), rel=1e-9)


@given(maps(), shares, st.integers(2, 3))
def test_finer_pixels_of_the_same_density_give_the_same_size(values, share, factor):
    assume(values.size < 40)
    finer = np.kron(values, np.ones((factor,) * values.ndim))
    assert radius_mass(finer).diameter(share) == pytest.approx(factor * radius_mass(values).diameter(share), rel=1e-9)


def test_islands_are_one_size_until_a_box_spans_both():
    curve = radius_mass([1.0, 0.0, 0.0, 1.0])
    assert curve.diameter(0.5) == 1
    assert curve.box(0.5) in ([(-0.5, 0.5)], [(2.5, 3.5)])
    assert curve.diameter(0.75) == 3.5


def test_boxes_along_a_short_axis_stick_out_evenly():
    curve = radius_mass(np.ones((2, 8)))
    assert curve.diameter(0.5) == 4
    np.testing.assert_allclose(curve.box(0.5), [(-1.5, 2.5), (1.5, 5.5)])


def test_the_curve_is_the_mass_at_whole_sides():
    values = np.random.default_rng(0).random((6, 9))
    curve = radius_mass(values)
    assert curve.sides.tolist() == list(range(10))
    np.testing.assert_allclose(curve.mass, [curve.mass_at(side) for side in curve.sides], atol=1e-15)
    np.testing.assert_allclose(curve.mass, [brute_mass(values, side) for side in curve.sides], atol=1e-12)
    np.testing.assert_array_equal(curve.mass, 1 - curve.beyond)


def test_maps_of_one_size_share_their_sides_whatever_they_hold():
    values = np.zeros((7, 7))
    values[2:4, 3] = 1
    assert radius_mass(values).sides.tolist() == radius_mass(np.ones((7, 7))).sides.tolist()


@pytest.mark.parametrize("center", [None, (30,)], ids=["anywhere", "pinned"])
def test_tails_fainter_than_rounding_keep_their_digits(center):
    coefficients = [math.comb(60, index) for index in range(61)]
    curve = radius_mass(theory.uniform_stack(60, 2, 1), center)
    odd = (curve.sides % 2 == 1) & (curve.sides < 61)
    exact = [float(Fraction(2 * sum(coefficients[: (60 - int(side)) // 2 + 1]), 2**60)) for side in curve.sides[odd]]
    np.testing.assert_allclose(curve.beyond[odd], exact, rtol=1e-12)


def test_tails_down_to_the_smallest_numbers_count_towards_the_whole():
    assert radius_mass(theory.uniform_stack(600, 3, 1)).diameter(1.0) == 1201
    values = np.full((9, 9), 1e-300)
    values[4, 4] = 1
    curve = radius_mass(values)
    assert curve.diameter(1.0) == 9
    assert curve.beyond[7] == pytest.approx(32e-300)
    assert 0 < curve.beyond[8] < curve.beyond[7]


def test_a_product_of_faint_tails_keeps_its_digits():
    line = theory.uniform_stack(40, 2, 1)
    one, two = radius_mass(line), radius_mass(np.multiply.outer(line, line))
    np.testing.assert_allclose(two.beyond, one.beyond * (2 - one.beyond), rtol=1e-11)


centers = st.floats(-3, 8).map(lambda number: round(number, 3))


@given(maps(), st.floats(0, 12), st.data())
def test_mass_around_a_point_equals_brute_force(values, side, data):
    center = [data.draw(centers) for _ in values.shape]
    inside = share_in_box(values, np.subtract(center, side / 2), np.add(center, side / 2)) / values.sum()
    assert radius_mass(values, center).mass_at(side) == pytest.approx(inside, abs=1e-12)


@given(maps(), shares, st.data())
def test_the_diameter_around_a_point_is_the_smallest_that_holds_the_share(values, share, data):
    center = [data.draw(centers) for _ in values.shape]
    curve = radius_mass(values, center)
    side = curve.diameter(share)
    lower, upper = zip(*curve.box(share), strict=True)
    np.testing.assert_allclose([np.add(lower, upper) / 2, np.subtract(upper, lower)], [center, [side] * values.ndim])
    assert share_in_box(values, lower, upper) >= (share - 1e-9) * values.sum()
    assert curve.mass_at(side * (1 - 1e-6) - 1e-9 if side else 0) < share
    assert side >= radius_mass(values).diameter(share) - 1e-9


@pytest.mark.parametrize("values", [[1.0], [1.0, 0.0]], ids=["to the map's end", "before it"])
def test_a_box_around_a_point_between_pixels_holds_all_where_its_face_does(values):
    assert radius_mass(values, (-1.574,)).diameter(1.0) == pytest.approx(4.148)


def test_a_center_far_outside():
    curve = radius_mass(np.ones((3, 4)), (1e7 + 0.5, 1))
    assert curve.diameter(1 / 3) == pytest.approx(2e7 - 2)
    assert curve.diameter(1.0) == pytest.approx(2e7 + 2)
    disc = radius_mass(np.ones((3, 4)), (1e7 + 0.5, 1), "euclidean")
    assert disc.diameter(0.5) == pytest.approx(2e7 - 1, abs=1)
    assert disc.mass_at(1e7) == 0


def pieces(values, cuts):
    """The map with every pixel cut up, and the places of the pieces per axis."""
    fine = np.kron(values, np.ones((cuts,) * values.ndim))
    return fine / fine.sum(), np.ix_(*[(np.arange(cuts * length) + 0.5) / cuts - 0.5 for length in values.shape])


@pytest.mark.parametrize("shape", [(60, 50), (24, 20, 22)])
def test_balls_hold_what_the_pieces_of_pixels_say(shape):
    values = np.random.default_rng(0).random(shape)
    center = [length / 2 - 0.7 for length in shape]
    curve = radius_mass(values, center, "euclidean")
    fine, places = pieces(values, 4)
    distance = np.sqrt(sum((line - middle) ** 2 for line, middle in zip(places, center, strict=True)))
    for radius in (4, 7.3, 9, 20):
        assert curve.mass_at(2 * radius) == pytest.approx(fine[distance <= radius].sum(), rel=0.01)


def test_balls_of_a_gaussian():
    line = np.exp(-0.5 * (np.arange(-60, 61) / 10) ** 2)
    curve = radius_mass(np.multiply.outer(line, line), (60, 60), "euclidean")
    for share in (0.1, 0.5, 0.9, 0.99):
        assert curve.radius(share) == pytest.approx(10 * math.sqrt(-2 * math.log(1 - share)), rel=0.005)


@given(maps(positive), shares, st.data())
def test_balls_grow_without_jumps_around_any_point(values, share, data):
    center = [data.draw(centers) for _ in values.shape]
    curve = radius_mass(values, center, "euclidean")
    assert (np.diff(curve.mass) >= -1e-12).all()
    assert curve.mass_at(0) < 1e-12 and curve.beyond[-1] == 0
    assert curve.mass_at(curve.diameter(share)) == pytest.approx(share, abs=1e-9)


def test_balls_on_one_axis_are_boxes():
    values = np.random.default_rng(0).random(20)
    boxes, balls = radius_mass(values, (8.0,)), radius_mass(values, (8.0,), "euclidean")
    for share in (0.05, 0.3, 0.5, 0.9, 1.0):
        assert balls.diameter(share) == pytest.approx(boxes.diameter(share), abs=1e-9)


@pytest.mark.parametrize("num_dims", [1, 2, 3])
@pytest.mark.parametrize("side", [1, 2, 7])
def test_equivalent_width_of_even_maps(num_dims, side):
    assert equivalent_width(np.pad(np.ones((side,) * num_dims), 2)) == pytest.approx(side, rel=1e-12)


@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_equivalent_width_is_the_integral_of_what_is_outside(num_dims):
    line = theory.uniform_stack(6, 3, 1)
    faces, sums = np.arange(14) - 6.5, np.append(0, np.cumsum(line))

    def outside(side):
        return 1 - (np.interp(side / 2, faces, sums) - np.interp(-side / 2, faces, sums)) ** num_dims

    integral = sum(quad(outside, side, side + 1, epsabs=1e-13)[0] for side in range(13))
    width = equivalent_width(theory.uniform_stack(6, 3, num_dims))
    assert width == pytest.approx((num_dims + 1) / num_dims * integral, rel=1e-10)


@pytest.mark.parametrize("shape", [(5,), (4, 6), (3, 3, 4), (12, 12)])
def test_equivalent_width_where_the_best_box_changes_place(shape):
    values = np.random.default_rng(0).random(shape)
    curve = radius_mass(values)
    sides = np.linspace(0, max(shape), 200 * max(shape) + 1)
    integral = np.trapezoid([1 - curve.mass_at(side) for side in sides], sides)
    expected = (len(shape) + 1) / len(shape) * integral
    assert curve.equivalent_width() == pytest.approx(expected, rel=5e-5)


def test_equivalent_width_is_linear_in_the_mass():
    core, wide = np.pad(np.ones((3, 3)) / 9, 4), np.ones((11, 11)) / 121
    assert equivalent_width(0.75 * core + 0.25 * wide) == pytest.approx(0.75 * 3 + 0.25 * 11, rel=1e-12)


def test_equivalent_width_around_a_point():
    assert radius_mass(np.ones((5, 5)), (2, 2)).equivalent_width() == pytest.approx(5, rel=1e-12)
    assert radius_mass(np.ones(5), (4,)).equivalent_width() == pytest.approx(8.2, rel=1e-12)


def test_tail_ratio():
    line = np.exp(-0.5 * (np.arange(-80, 81) / 15) ** 2)
    assert round(tail_ratio(np.ones((6, 6))), 3) == 1.342
    assert round(tail_ratio(np.multiply.outer(line, line)), 3) == 1.853


@given(maps(), shares)
def test_extent_is_the_shortest_interval_of_each_margin(values, share):
    for axis, (lower, upper) in enumerate(extent(values, share)):
        margin = values.sum(tuple(other for other in range(values.ndim) if other != axis))
        assert share_in_box(margin, [lower], [upper]) >= (share - 1e-8) * margin.sum()
        assert upper - lower == 0 or brute_mass(margin, (upper - lower) * (1 - 1e-6) - 1e-9) < share


def test_extent_of_a_causal_map():
    assert extent([8.0, 4.0, 2.0, 2.0, 0.0], 0.75) == [(-0.5, 1.5)]


def test_plain_lists_and_single_precision_are_maps_too():
    assert radius_mass([[1, 1], [1, 1]]).diameter(0.25) == 1
    assert radius_mass(np.ones((4, 4), np.float32)).diameter(0.25) == 2


def test_it_reads_as_a_report():
    text = repr(radius_mass(theory.uniform_stack(10, 3)))
    assert text == "RadiusMass(chebyshev: 50% within 5.542 px, 90% within 10.14 px, 95% within 11.47 px)"


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, float("nan")])
@pytest.mark.parametrize("size", ["diameter", "radius", "box"])
def test_shares_out_of_bounds_are_refused(share, size):
    with pytest.raises(ValueError, match="expected a share of the map's sum"):
        getattr(radius_mass(np.ones(5)), size)(share)


@pytest.mark.parametrize("side", [-1.0, float("nan")])
def test_sides_out_of_bounds_are_refused(side):
    with pytest.raises(ValueError, match="expected a length in pixels, from 0"):
        radius_mass(np.ones(5)).mass_at(side)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(5), (2,), "manhattan"), "got metric 'manhattan'; expected 'chebyshev' or 'euclidean'"),
        ((np.ones(5), None, "euclidean"), "got metric 'euclidean' and no center"),
        ((np.ones((5, 5)), (2,)), "expected 2 finite pixel positions"),
        ((np.ones(5), (np.nan,)), "expected 1 finite pixel positions"),
    ],
    ids=["metric", "no center", "axes", "nan"],
)
def test_radius_mass_refuses_what_it_cannot_measure(arguments, message):
    with pytest.raises(ValueError, match=message):
        radius_mass(*arguments)
