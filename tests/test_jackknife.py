"""The delete-a-group jackknife: its formula, and the coverage of its intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from captum_erf import summaries
from captum_erf.result.jackknife import delete_a_group, leave_one_out

GROUPS = 10


def test_standard_error_of_a_mean_is_that_of_the_group_means():
    groups = np.random.default_rng(0).normal(size=GROUPS)
    estimates = [float(mean) for mean in leave_one_out(groups, [1] * GROUPS)]
    assert delete_a_group(estimates) == pytest.approx(groups.std(ddof=1) / np.sqrt(GROUPS))


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
def test_formula(estimates):
    groups, mean = len(estimates), sum(estimates) / len(estimates)
    expected = ((groups - 1) / groups * sum((estimate - mean) ** 2 for estimate in estimates)) ** 0.5
    assert delete_a_group(estimates) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("estimates", [[], [3.0]])
def test_fewer_than_two_groups_have_no_standard_error(estimates):
    assert delete_a_group(estimates) is None


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 99))
def test_leave_one_out_is_the_mean_of_the_other_samples(counts, seed):
    rng = np.random.default_rng(seed)
    samples = [rng.random((count, 3, 2)) for count in counts]
    sums = np.stack([group.sum(axis=0) for group in samples])
    filled = [group for group, count in enumerate(counts) if count]
    found = list(leave_one_out(sums, counts))
    assert len(found) == (len(filled) if len(filled) > 1 else 0)
    for mean, group in zip(found, filled, strict=False):
        others = np.concatenate(samples[:group] + samples[group + 1 :])
        np.testing.assert_allclose(mean, others.mean(axis=0), rtol=1e-12)


def test_a_pixel_that_only_one_group_reached_is_zero_without_it():
    sums = np.array([[0.1, 0.3], [0.0, 0.7], [0.0, 1e9]])
    assert next(leave_one_out(sums, [1, 1, 1]))[0] == 0.0


def test_leave_one_out_leaves_the_sums_alone():
    sums = np.arange(6.0).reshape(3, 2)
    list(leave_one_out(sums, [1, 1, 1]))
    assert sums.tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("counts", [[1], [1, -1]], ids=["length", "negative"])
def test_malformed_counts_are_refused(counts):
    with pytest.raises(ValueError, match="expected a sum and a count of at least 0 per group"):
        list(leave_one_out(np.ones((2, 3)), counts))


def blobs(size, num_dims, sigmas):
    squares = np.square(np.indices((size,) * num_dims) - size // 2).sum(axis=0)
    return np.stack([np.exp(-squares / (2 * sigma**2)) / sigma**num_dims for sigma in sigmas])


STATISTICS = {
    "diameter": (
        blobs(141, 2, np.linspace(5, 50, 6)),
        lambda mean: summaries.radius_mass(mean, (70, 70)).diameter(0.5),
    ),
    "gaussian sigma": (blobs(25, 1, np.linspace(1.5, 5, 4)), lambda mean: summaries.gaussian_fit(mean).sigmas[0]),
}


@pytest.mark.parametrize(("shapes", "statistic"), STATISTICS.values(), ids=STATISTICS)
def test_intervals_cover_the_truth_as_often_as_they_say(shapes, statistic):
    """Samples mix concentric Gaussians with exponential weights, so that their mean is known exactly."""
    rng = np.random.default_rng(1)
    truth, quantile = statistic(shapes.mean(axis=0)), stats.t.ppf(0.975, GROUPS - 1)
    estimates, covered = [], 0
    for _ in range(200):
        weights = rng.exponential(size=(GROUPS, 3, len(shapes)))
        sums = np.tensordot(weights.sum(axis=1), shapes, axes=1)
        error = delete_a_group([statistic(mean) for mean in leave_one_out(sums, [3] * GROUPS)])
        estimates.append(statistic(sums.sum(axis=0)))
        covered += abs(estimates[-1] - truth) <= quantile * error
    assert 0.90 <= covered / 200 <= 0.99
    assert np.std(estimates) > 0.02 * truth
