"""Mass by whole pixels, as other tools count it, against brute force over pixels."""

import numpy as np
import pytest
from drawn import HALVES, maps_and_centers
from hypothesis import given
from hypothesis import strategies as st

from captum_erf import theory
from captum_erf.summaries.stepped import stepped_radius_mass


def brute_mass(values, center, metric):
    order = np.inf if metric == "chebyshev" else 2
    distances = {
        pixel: round(float(np.linalg.norm(np.subtract(pixel, center), order)), 7) for pixel in np.ndindex(values.shape)
    }
    radii = sorted(set(distances.values()))
    within = [sum(values[pixel] for pixel in distances if distances[pixel] <= radius) for radius in radii]
    return radii, np.array(within) / values.sum()


@pytest.mark.parametrize("metric", ["chebyshev", "euclidean"])
@pytest.mark.parametrize("coordinate", [HALVES, st.floats(-3, 8)], ids=["half pixels", "anywhere"])
def test_it_equals_brute_force(metric, coordinate):
    @given(maps_and_centers(coordinate), st.floats(0.01, 1))
    def check(case, share):
        values, center = case
        center = tuple(round(number, 3) for number in center)
        curve = stepped_radius_mass(values, center, metric)
        radii, mass = brute_mass(values, center, metric)
        np.testing.assert_allclose(curve.radii, radii, atol=1e-6)
        np.testing.assert_allclose(curve.mass, mass, atol=1e-12)
        np.testing.assert_allclose(curve.beyond, 1 - mass, atol=1e-12)
        expected = radii[np.argmax(mass >= share - 1e-12)]
        assert curve.radius(share) == pytest.approx(expected, abs=1e-6)
        assert curve.diameter(share) == 2 * curve.radius(share) + 1

    check()


@given(maps_and_centers(HALVES))
def test_the_whole_mass_reaches_the_farthest_pixel_that_counts(case):
    values, center = case
    farthest = max(max(abs(np.subtract(pixel, center))) for pixel in zip(*np.nonzero(values), strict=True))
    curve = stepped_radius_mass(values, center)
    assert curve.radius(1.0) == farthest
    assert curve.mass[-1] == 1.0


def test_tails_fainter_than_rounding_count_towards_the_whole():
    assert stepped_radius_mass(theory.uniform_stack(100, 3, 1), (100,)).radius(1.0) == 100


@pytest.mark.parametrize("radius", range(7))
def test_a_share_that_a_box_holds_exactly_is_reached_despite_rounding(radius):
    curve = stepped_radius_mass(np.full((15, 15), 0.1), (7, 7))
    share = (2 * radius + 1) ** 2 / 15**2
    assert curve.radius(share) == radius
    assert curve.radius(share + 1e-6) == radius + 1


def test_a_center_far_outside():
    curve = stepped_radius_mass(np.ones((3, 4)), (1e7 + 0.5, 1))
    assert curve.radii.tolist() == [1e7 - 1.5, 1e7 - 0.5, 1e7 + 0.5]


def test_centers_a_rounding_error_off_a_half_pixel_share_its_distances():
    near = stepped_radius_mass(np.ones((8, 8)), (3.5 - 1e-13, 3.5 + 1e-13))
    assert near.radii.tolist() == [0.5, 1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(5), (2,), "manhattan"), "got metric 'manhattan'; expected 'chebyshev' or 'euclidean'"),
        ((np.ones((5, 5)), (2,)), "expected 2 finite pixel positions"),
    ],
    ids=["metric", "axes"],
)
def test_it_refuses_what_it_cannot_measure(arguments, message):
    with pytest.raises(ValueError, match=message):
        stepped_radius_mass(*arguments)


@pytest.mark.parametrize("share", [0.0, 1.01, float("nan")])
def test_shares_out_of_bounds_are_refused(share):
    with pytest.raises(ValueError, match="expected a share of the map's sum"):
        stepped_radius_mass(np.ones(5), (2,)).radius(share)
