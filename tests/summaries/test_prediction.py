"""How much of a map a prediction explains, against least squares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from captum_erf import theory
from captum_erf.summaries import UndefinedStatistic, share_of_theory

SHAPE = np.sqrt(theory.uniform_stack(4, 3))


@given(st.floats(-300, 300), st.integers(0, 4))
def test_the_shape_predicted_is_explained_whatever_its_scale(exponent, margin):
    shape = np.pad(SHAPE, margin)
    assert share_of_theory(10**exponent * shape, shape) == pytest.approx(1)


@given(arrays(np.float64, SHAPE.shape, elements=st.floats(0.1, 1)))
def test_it_is_r2_of_least_squares(values):
    values.flat[0] += 1
    residual = np.linalg.lstsq(SHAPE.reshape(-1, 1), values.ravel(), rcond=None)[1].item()
    assert share_of_theory(values, SHAPE) == pytest.approx(1 - residual / (values.var() * values.size))


def test_only_the_part_asked_for_is_compared():
    values = SHAPE + np.random.default_rng(0).random(SHAPE.shape) / 50
    around = np.pad(values, 20, constant_values=3)
    part = (slice(20, 29), slice(20, 29))
    assert share_of_theory(around, np.pad(SHAPE, 20), part) == pytest.approx(share_of_theory(values, SHAPE))


def test_another_map_is_not_explained():
    assert share_of_theory(np.eye(9), SHAPE) < 0.5


@pytest.mark.parametrize(
    ("values", "prediction", "error", "message"),
    [
        (np.ones((3, 3)), SHAPE, ValueError, r"got a prediction of shape \(9, 9\); expected \(3, 3\)"),
        (np.ones((9, 9)), SHAPE, UndefinedStatistic, "the same everywhere"),
        (SHAPE, np.zeros((9, 9)), UndefinedStatistic, "zero everywhere"),
        (SHAPE, np.full((9, 9), np.nan), ValueError, "not finite"),
    ],
    ids=["shape", "even", "zero", "not finite"],
)
def test_maps_that_cannot_be_compared_are_refused(values, prediction, error, message):
    with pytest.raises(error, match=message):
        share_of_theory(values, prediction)
