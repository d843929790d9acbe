"""
Whether 95 % intervals hold the true value as often as they say, by simulation.

Images differ by degrees. Where they are of two kinds only and 32 samples with heavy tails count as 12, intervals hold
in 88 to 91 % of cases (500 runs), and three images are all of one kind in a quarter of cases, which no error can show.
"""

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from torch import nn

from captum_erf import EffectiveReceptiveField, summaries

SIDE = 24
WIDTHS = np.linspace(2, 5, 61)
RUNS = 200


class OwnGradient(nn.Module):
    """A network whose gradient is its input, so that sample maps can be dealt out."""

    def __init__(self):
        super().__init__()
        self.last = nn.Identity()

    def forward(self, inputs):
        return self.last((inputs.square() / 2).sum((2, 3), keepdim=True))


def bell(width):
    line = np.exp(-0.5 * ((np.arange(SIDE) - (SIDE - 1) / 2) / width) ** 2)
    return np.multiply.outer(line, line) / line.sum() ** 2


BELLS = np.array([bell(width) for width in WIDTHS])
"""An image's field has one of these widths, all as often, so that the mean of all images is the mean of these."""


def sample_maps(rng, num_samples, num_images, heavy_tails):
    """Noisy maps of samples that belong to images in turn, and the image of each."""
    image = np.arange(num_samples) % num_images
    width = rng.integers(0, len(WIDTHS), num_images)[image]
    norm = (rng.lognormal(size=num_images) if heavy_tails else np.ones(num_images))[image]
    noise = np.abs(rng.standard_normal((num_samples, SIDE, SIDE)))
    return torch.from_numpy(norm[:, None, None] * BELLS[width] * noise)[:, None], image


def lengths(intervals):
    return np.array([upper - lower for lower, upper in intervals])


MEASURES = {
    "diameter_50": lambda values: summaries.radius_mass(values).diameter(0.5),
    "diameter_90": lambda values: summaries.radius_mass(values).diameter(0.9),
    "equivalent_width": summaries.equivalent_width,
    "gaussian_sigma": lambda values: summaries.gaussian_fit(values).sigma,
    "gaussian_r2": lambda values: summaries.gaussian_fit(values).r2,
    "effective_pixels": summaries.effective_pixels,
    "extent_50": lambda values: lengths(summaries.extent(values, 0.5)),
    "extent_90": lambda values: lengths(summaries.extent(values, 0.9)),
}
TRUTH = {key: measure(BELLS.mean(0)) for key, measure in MEASURES.items()}

CASES = {
    "32 samples": {"num_samples": 32, "num_images": 32},
    "200 samples": {"num_samples": 200, "num_images": 200},
    "32, heavy tails": {"num_samples": 32, "num_images": 32, "heavy_tails": True},
    "200, heavy tails": {"num_samples": 200, "num_images": 200, "heavy_tails": True},
    "32, heavy tails, normalised": {"num_samples": 32, "num_images": 32, "heavy_tails": True, "normalize": True},
    "6 images": {"num_samples": 60, "num_images": 6},
    "3 images": {"num_samples": 60, "num_images": 3},
}


def coverage(num_samples, num_images, heavy_tails=False, normalize=False):
    """How often the interval of each measure holds the truth."""
    rng = np.random.default_rng(0)
    erf = EffectiveReceptiveField(OwnGradient(), "last")
    quantile = student.ppf(0.975, min(num_images, 10) - 1)
    held = {key: [] for key in TRUTH}
    for _ in range(RUNS):
        maps, image = sample_maps(rng, num_samples, num_images, heavy_tails)
        field = erf.aggregate([maps], get_groups=lambda batch, image=image: image.tolist(), normalize=normalize)
        row = field.summary()
        for key, true in TRUTH.items():
            value = lengths(row[key]) if key.startswith("extent") else row[key]
            held[key].extend(np.atleast_1d(np.abs(value - true) <= quantile * np.array(row[f"{key}_se"])))
    return {key: float(np.mean(inside)) for key, inside in held.items()}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_intervals_hold_the_true_value(case):
    found = coverage(**CASES[case])
    print(case, found)
    assert found.pop("gaussian_r2") >= 0.9  # cautious, as R² ends at 1; without the correction 0.01 to 0.7
    assert all(0.9 <= share <= 0.99 for share in found.values()), found
