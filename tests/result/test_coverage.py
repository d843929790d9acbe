"""Whether 95 % intervals cover the truth as often as they say, for the numbers that are printed."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from captum_erf import ERFMap
from captum_erf.result.sums import Groups

SIZE, GROUPS, TRIALS = 33, 10, 200
QUANTILE = stats.t.ppf(0.975, GROUPS - 1)
SIGMAS = np.linspace(2.0, 6.0, 5)
SHAPES = np.stack([np.exp(-np.square(np.indices((SIZE, SIZE)) - SIZE // 2).sum(0) / (2 * s**2)) / s for s in SIGMAS])
GRAIN = 4  # gamma shape of the noise of each pixel
HITS = stats.binom(TRIALS, [0.90, 0.99]).ppf([0.01, 0.99]) / TRIALS  # what 90 to 99 % look like in so many trials

NORMS = {"even norms": lambda rng, count: np.ones(count), "heavy tails": lambda rng, count: rng.lognormal(0, 1, count)}
STATISTICS = {
    "diameter 50": lambda field: field.radius_mass().diameter(0.5),
    "diameter 90": lambda field: field.radius_mass().diameter(0.9),
    "sigma": lambda field: field.gaussian_fit().sigma,
    "extent": lambda field: np.diff(field.extent(0.5)),
}


def samples(rng, count, norm):
    """Concentric Gaussians of several widths, each with a grain of its own and a norm: their mean is known exactly."""
    mixed = np.tensordot(rng.exponential(size=(count, len(SIGMAS))), SHAPES, axes=1)
    return mixed * rng.gamma(GRAIN, 1 / GRAIN, size=mixed.shape) * norm(rng, count)[:, None, None]


def field_of(maps):
    """The samples dealt into groups, as a measurement deals them."""
    sums = np.stack([maps[group::GROUPS].sum(0) for group in range(GROUPS)])
    counts = np.array([len(maps[group::GROUPS]) for group in range(GROUPS)])
    return ERFMap(replace(Groups.of(sums), counts=counts), "x", None, {})


@pytest.mark.slow
@pytest.mark.parametrize("count", [32, 200])
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_intervals_cover_the_truth(norm, count):
    rng, covered = np.random.default_rng(count), {}
    truth = ERFMap(Groups.of(SHAPES.sum(0)[None]), "x", None, {})
    expected = {name: np.ravel(statistic(truth)) for name, statistic in STATISTICS.items()}
    expected |= {"effective pixels": truth.effective_pixels(), "r2": truth.gaussian_fit().r2}
    for _ in range(TRIALS):
        field = field_of(samples(rng, count, norm))
        value, error = field.estimate(lambda found: {name: np.ravel(s(found)) for name, s in STATISTICS.items()})
        row = field.summary()
        for name, key in (("effective pixels", "effective_pixels"), ("r2", "gaussian_r2")):
            value[name], error[name] = row[key], row[f"{key}_se"]
        for name in expected:
            covered.setdefault(name, []).append(np.abs(value[name] - expected[name]) <= QUANTILE * error[name])
    for name, hits in covered.items():
        assert HITS[0] <= np.mean(hits) <= HITS[1], f"{name}: {np.mean(hits):.3f}"
