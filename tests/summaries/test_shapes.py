"""Fits of radial shapes: what they recover, against other solvers, and where there is nothing to recover."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, curve_fit

from captum_erf import summaries, theory
from captum_erf.summaries import profiles
from captum_erf.summaries import shapes as fits

PROFILES = {
    "gaussian": lambda rho: np.exp(-(rho**2) / 2),
    "laplace": lambda rho: np.exp(-rho),
    "lorentzian": lambda rho: 1 / (1 + rho**2),
    "uniform disc": lambda rho: (rho < 1).astype(float),
    "generalised gaussian": lambda rho: np.exp(-(rho**4) / 4),
}


def covariance_of(sigmas, angle=0.0):
    """In the order (y, x); the first sigma along the angle in degrees, counter-clockwise as seen."""
    along = np.array([-np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    across = np.array([along[1], -along[0]])
    return sigmas[0] ** 2 * np.outer(along, along) + sigmas[1] ** 2 * np.outer(across, across)


def draw(family, shape, mean, covariance, amplitude=1.0, background=0.0):
    offsets = np.indices(shape).reshape(len(shape), -1) - np.reshape(mean, (-1, 1))
    rho = np.sqrt((offsets * np.linalg.solve(covariance, offsets)).sum(axis=0)).reshape(shape)
    return background + amplitude * PROFILES[family](rho)


@example((0.0, 25.0), (13.75, 2.0), 0.0, 0.0, 1.0)
@given(
    st.tuples(st.floats(0, 50), st.floats(0, 60)),
    st.tuples(st.floats(2, 20), st.floats(2, 20)),
    st.floats(-89, 90),
    st.floats(0, 100),
    st.sampled_from([1e-9, 1.0, 1e7]),
)
@settings(max_examples=60, deadline=None)
def test_gaussian_fit_recovers_any_gaussian_on_a_background(mean, sigmas, angle, background, unit):
    covariance = covariance_of(sigmas, angle)
    fit = summaries.gaussian_fit(unit * draw("gaussian", (50, 60), mean, covariance, 3.0, background))
    np.testing.assert_allclose(fit.mean, mean, atol=1e-3)
    np.testing.assert_allclose(fit.covariance, covariance, atol=1e-3 * max(sigmas) ** 2)
    np.testing.assert_allclose(fit.sigmas, sorted(sigmas, reverse=True), rtol=1e-3)
    np.testing.assert_allclose([fit.amplitude / unit, fit.background / unit], [3.0, background], rtol=1e-3, atol=1e-3)
    assert fit.r2 == pytest.approx(1)
    if max(sigmas) > 1.1 * min(sigmas):
        turn = (fit.angle - angle - 90 * (sigmas[0] < sigmas[1]) + 90) % 180 - 90
        assert abs(turn) < 0.1


@pytest.mark.parametrize("mean", [(-4, 20), (49, 59), (25, -10)], ids=["above", "corner", "left"])
def test_a_gaussian_half_outside_the_image_is_recovered(mean):
    covariance = covariance_of((14, 6), 30)
    fit = summaries.gaussian_fit(draw("gaussian", (50, 60), mean, covariance, 2.0, 0.3))
    np.testing.assert_allclose(fit.mean, mean, atol=0.01)
    np.testing.assert_allclose(fit.sigmas, (14, 6), rtol=0.01)
    assert fit.angle == pytest.approx(30, abs=0.1)
    assert fit.background == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize("angle", [-80, -45, -10, 0, 10, 45, 80, 90])
def test_angles_turn_counter_clockwise_as_seen(angle):
    fit = summaries.gaussian_fit(draw("gaussian", (40, 40), (20, 18), covariance_of((7, 3), angle)))
    assert fit.angle == pytest.approx(angle, abs=0.01)


@pytest.mark.parametrize("num_dims", [1, 3])
def test_gaussians_along_one_and_three_axes(num_dims):
    root = np.array([[4.0, 0, 0], [1.5, 2.5, 0], [-1, 0.5, 3]])[:num_dims, :num_dims]
    mean = np.array([9.3, 12.0, 8.7])[:num_dims]
    fit = summaries.gaussian_fit(draw("gaussian", (20, 22, 18)[:num_dims], mean, root @ root.T, 2.0, 0.5))
    np.testing.assert_allclose(fit.mean, mean, atol=1e-4)
    np.testing.assert_allclose(fit.covariance, root @ root.T, atol=1e-3)
    np.testing.assert_allclose(fit.sigmas, np.linalg.svd(root)[1], rtol=1e-4)
    assert fit.angle is None


@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_sigma_of_all_ones_convolutions_is_near_the_closed_form(num_dims):
    fit = summaries.gaussian_fit(theory.uniform_stack(20, 3, num_dims))
    np.testing.assert_allclose(fit.sigmas, [theory.gaussian_sigma([(3, 1, 1)] * 20)] * num_dims, rtol=0.015)
    np.testing.assert_allclose(fit.mean, [20] * num_dims, atol=1e-6)


def test_gaussian_fit_equals_scipys_curve_fit_on_a_noisy_map():
    rng = np.random.default_rng(2)
    y, x = np.indices((40, 50))
    values = draw("laplace", (40, 50), (22, 19), covariance_of((8, 4), 25), 2.0, 0.4) + 0.2 * rng.normal(size=(40, 50))

    def model(_, amplitude, background, row, column, a, b, c):
        return (
            background
            + amplitude * np.exp(-(a * (y - row) ** 2 + b * (y - row) * (x - column) + c * (x - column) ** 2))
        ).ravel()

    expected, _ = curve_fit(model, None, values.ravel(), p0=[1, 0, 20, 20, 0.02, 0, 0.02])
    fit = summaries.gaussian_fit(values)
    a, b, c = expected[4:]
    np.testing.assert_allclose([fit.amplitude, fit.background, *fit.mean], expected[:4], rtol=1e-3)
    np.testing.assert_allclose(np.linalg.inv(fit.covariance), [[2 * a, b], [b, 2 * c]], rtol=2e-3)
    rest = values.ravel() - model(None, *expected)
    rss = rest @ rest
    assert fit.r2 == pytest.approx(1 - rss / np.square(values - values.mean()).sum())
    assert fit.aic == pytest.approx(values.size * np.log(rss / values.size) + 2 * 7)


def test_a_heavy_background_does_not_widen_the_fit_as_it_widens_moments():
    values = draw("gaussian", (224, 224), (110, 115), 17.9**2 * np.eye(2)) + 0.05 * np.random.default_rng(0).random(
        (224, 224)
    )
    assert summaries.gaussian_fit(values).sigmas == pytest.approx([17.9, 17.9], rel=0.005)
    assert summaries.moments(values).sigmas[0] > 35


def test_bright_lone_pixels_do_not_catch_the_fit():
    values = draw("gaussian", (100, 100), (40, 60), covariance_of((12, 8), 20))
    values[[3, 90, 55], [8, 20, 95]] = 5.0
    fit = summaries.gaussian_fit(values)
    np.testing.assert_allclose(fit.mean, (40, 60), atol=0.5)
    np.testing.assert_allclose(fit.sigmas, (12, 8), rtol=0.03)


def test_the_center_is_a_start_that_the_fit_leaves_again():
    values = draw("gaussian", (60, 60), (20, 40), covariance_of((6, 4), 10))
    far, free = summaries.gaussian_fit(values, center=(50, 5)), summaries.gaussian_fit(values)
    np.testing.assert_allclose(far.mean, free.mean, atol=1e-6)


def test_the_center_decides_between_two_equal_peaks():
    covariance = 16 * np.eye(2)
    values = draw("gaussian", (60, 90), (30, 15), covariance) + draw("gaussian", (60, 90), (30, 75), covariance)
    assert summaries.gaussian_fit(values, center=(30, 75)).mean[1] == pytest.approx(75, abs=0.5)
    assert summaries.gaussian_fit(values, center=(30, 15)).mean[1] == pytest.approx(15, abs=0.5)


@pytest.mark.parametrize("family", PROFILES)
def test_every_family_is_recovered_and_ranked_first(family):
    covariance = covariance_of((9, 6), 35)
    noise = 0.02 * np.random.default_rng(0).normal(size=(64, 64))
    ranked = summaries.compare_shapes(draw(family, (64, 64), (30.3, 33.8), covariance, 2.0, 0.5) + noise)
    best = ranked[0]
    assert best.family == family
    np.testing.assert_allclose(best.mean, (30.3, 33.8), atol=0.2)
    np.testing.assert_allclose(best.sigmas, (9, 6), rtol=0.03)
    np.testing.assert_allclose([best.amplitude, best.background], (2.0, 0.5), rtol=0.03)
    assert best.angle == pytest.approx(35, abs=1.5)
    assert (best.beta is not None) == (family == "generalised gaussian")


CUT = {
    "line": ((120,), [[0.8], [116.6]], [[64.0]]),
    "corner": ((64, 64), [[1.2, 2.4], [61.3, 1.8]], covariance_of((9, 6), 35)),
    "edge": ((64, 64), [[0.7, 30.4]], covariance_of((9, 6), 35)),
}


SIMPLE = ("gaussian", "laplace", "lorentzian", "uniform disc")  # the generalised has a parameter more for the noise


@pytest.mark.parametrize("noise", [0.0, 0.01], ids=["exact", "noisy"])
@pytest.mark.parametrize("place", CUT)
@pytest.mark.parametrize("family", PROFILES)
def test_every_family_is_ranked_first_where_the_border_cuts_it(family, place, noise):
    shape, means, covariance = CUT[place]
    for mean in means:
        values = draw(family, shape, mean, covariance) + noise * np.random.default_rng(1).normal(size=shape)
        ranked = [fit for fit in summaries.compare_shapes(values) if fit.family in (family, *SIMPLE)]
        assert ranked[0].family == family
        assert ranked[0].r2 > 0.97


@pytest.mark.parametrize("beta", [0.6, 1.0, 1.5, 2.0, 4.0])
def test_the_generalised_exponent_is_recovered(beta):
    rho = np.hypot(*(np.indices((61, 61)) - 30)) / 8
    ranked = summaries.compare_shapes(np.exp(-(rho**beta) / beta))
    found = next(fit.beta for fit in ranked if fit.family == "generalised gaussian")
    assert found == pytest.approx(beta, rel=1e-3)


@pytest.mark.parametrize(("beta", "family"), [(1.0, "laplace"), (2.0, "gaussian")])
def test_between_equal_fits_the_one_with_fewer_parameters_wins(beta, family):
    rho = np.hypot(*(np.indices((61, 61)) - 30)) / 8
    ranked = summaries.compare_shapes(np.exp(-(rho**beta) / beta))
    assert [fit.family for fit in ranked[:2]] == [family, "generalised gaussian"]


def test_ranking():
    ranked = summaries.compare_shapes(np.random.default_rng(0).random((20, 20)))
    assert sorted(fit.family for fit in ranked) == sorted(PROFILES)
    assert [fit.aic for fit in ranked] == sorted(fit.aic for fit in ranked)


def test_the_gaussian_among_the_shapes_is_the_gaussian_fit():
    values = draw("lorentzian", (30, 40), (14, 22), covariance_of((5, 3), 60))
    found = next(fit for fit in summaries.compare_shapes(values) if fit.family == "gaussian")
    assert isinstance(found, summaries.GaussianFit)
    assert repr(found) == repr(summaries.gaussian_fit(values))


@pytest.mark.parametrize("rho2", [0.04, 0.9, 4.0])
@pytest.mark.parametrize(
    "family",
    [profiles.GAUSSIAN, profiles.LAPLACE, profiles.LORENTZIAN, profiles.DISC, profiles.GENERALISED],
    ids=lambda f: f.name,
)
def test_slopes_are_those_of_finite_differences(family, rho2):
    def value(params):
        return family.profile(params[:1], params[1])[0][0]

    _, slope, shape_slope = family.profile(np.array([rho2]), 0.3)
    expected = approx_fprime(np.array([rho2, 0.3]), value, 1e-7)
    assert slope[0] == pytest.approx(expected[0], rel=1e-4, abs=1e-6)
    if shape_slope is not None:
        assert shape_slope[0] == pytest.approx(expected[1], rel=1e-4, abs=1e-6)


def test_maps_worked_on_in_slabs_give_the_same_fit(monkeypatch):
    values = np.random.default_rng(4).random((30, 31)) + draw("gaussian", (30, 31), (12, 15), covariance_of((6, 4), 5))
    whole = summaries.gaussian_fit(values)
    monkeypatch.setattr(fits, "SLAB", 70)
    np.testing.assert_allclose(summaries.gaussian_fit(values).covariance, whole.covariance, rtol=1e-6)


@pytest.mark.parametrize("margin", [0, 20, 150])
def test_r2_over_a_part_does_not_hang_on_how_much_empty_input_lies_around(margin):
    noise = 0.1 * np.random.default_rng(0).normal(size=(60, 60))
    values = np.pad(draw("gaussian", (60, 60), (30, 28), covariance_of((9, 6), 35)) + noise, margin)
    part = (slice(margin, margin + 60),) * 2
    fit = summaries.gaussian_fit(values, within=part)
    model = draw("gaussian", values.shape, fit.mean, fit.covariance, fit.amplitude, fit.background)
    residual = (values - model)[part]
    assert fit.r2 == pytest.approx(1 - np.square(residual).sum() / np.square(values[part] - values[part].mean()).sum())
    assert fit.r2 == pytest.approx(0.79, abs=0.01)
    for shape in summaries.compare_shapes(values, within=part):
        assert shape.r2 <= 1
        if shape.family == "gaussian":
            assert shape.r2 == fit.r2


def test_sigma_is_the_geometric_mean():
    fit = summaries.gaussian_fit(draw("gaussian", (50, 50), (25, 25), covariance_of((8, 4.5), 35)))
    assert fit.sigma == pytest.approx(6, rel=1e-4)


def pixels(*lit, shape=(21, 21)):
    values = np.zeros(shape)
    for pixel in lit:
        values[pixel] = 3.0
    return values


DEGENERATE = {
    "one pixel": pixels((10, 12)),
    "corner pixel": pixels((0, 0)),
    "two pixels": pixels((10, 12), (10, 13)),
    "far pixels": pixels((2, 2), (18, 17)),
    "row": pixels(10),
    "ramp": np.indices((21, 21)).sum(axis=0),
    "checkerboard": np.indices((12, 12)).sum(axis=0) % 2,
    "bowl": np.square(np.indices((15, 15)) - 7).sum(axis=0),
    "dome": 1000.0 - np.square(np.indices((15, 15)) - 7).sum(axis=0),
    "one pixel of a line": pixels(4, shape=(30,)),
    "one pixel of a volume": pixels((3, 4, 5), shape=(8, 8, 8)),
    "smallest map": np.arange(9).reshape(3, 3) % 4,
    "tiny unit": 1e-280 * pixels((10, 12), (11, 14)),
}


@pytest.mark.parametrize("values", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_maps_give_finite_fits(values):
    for fit in summaries.compare_shapes(values):
        numbers = [fit.amplitude, fit.background, fit.r2, fit.aic, fit.beta or 0, fit.angle or 0]
        assert np.isfinite([*numbers, *fit.mean, *fit.sigmas, *fit.covariance.ravel()]).all()
        assert 0 <= fit.r2 <= 1


def test_a_single_pixel_is_narrower_than_a_pixel_and_where_it_is():
    fit = summaries.gaussian_fit(DEGENERATE["one pixel"])
    np.testing.assert_allclose(fit.mean, (10, 12), atol=0.05)
    assert fit.amplitude == pytest.approx(3, rel=0.1)
    assert fit.sigmas[0] < 0.3


@pytest.mark.parametrize("function", [summaries.gaussian_fit, summaries.compare_shapes])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((9, 9), 0.1), "0.1 everywhere; expected a peak to fit"),
        (np.zeros((9, 9)), "0 everywhere; expected a peak to fit"),
        (0.1 + 1e-16 * np.arange(81.0).reshape(9, 9), "0.1 everywhere; expected a peak"),
        (np.eye(2), r"shape \(2, 2\); expected at least 3 pixels along every axis"),
        (np.arange(5.0), r"shape \(5,\); expected at least 3 pixels along every axis and more than 5 in all"),
        (np.full((9, 9), np.nan), "81 values that are not finite"),
    ],
    ids=["flat", "dead", "rounding", "small", "short", "nan"],
)
def test_maps_without_a_shape_are_refused(function, values, message):
    with pytest.raises(ValueError, match=message):
        function(values)


def test_a_center_with_the_wrong_number_of_axes_is_refused():
    with pytest.raises(ValueError, match=r"got center \[1.0\]; expected 2 finite pixel positions"):
        summaries.gaussian_fit(np.eye(5), center=(1,))


def test_fits_read_as_reports():
    values = draw("gaussian", (40, 40), (20, 18), covariance_of((7, 3), 30), 2.0, 0.5)
    assert repr(summaries.gaussian_fit(values)) == (
        "GaussianFit(gaussian: R^2 1; mean 20, 18 px; sigmas 7, 3 px; angle 30 degrees; amplitude 2; background 0.5)"
    )


@pytest.mark.parametrize(
    ("family", "sentence"),
    [
        ("gaussian", r"best: gaussian, R\^2 1.000"),
        ("lorentzian", r"best: lorentzian, R\^2 1.000; gaussian R\^2 0.9\d\d"),
        ("generalised gaussian", r"best: generalised gaussian, beta 4.00, R\^2 1.000; gaussian R\^2 0.9\d\d"),
    ],
)
def test_shapes_are_described_in_a_sentence(family, sentence):
    ranked = summaries.compare_shapes(draw(family, (50, 50), (25, 25), 36 * np.eye(2)))
    assert re.fullmatch(sentence, summaries.describe_shapes(ranked))
