"""Whether 95 % intervals hold the true value as often as they say, by simulation."""

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from torch import nn

from captum_erf import EffectiveReceptiveField, summaries

SIDE = 24
WIDTHS = (2.5, 4.5)
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
"""Half of the images have a narrow field and half a wide one, so that the mean of all is the mean of these."""


def sample_maps(rng, num_samples, num_images, heavy_tails):
    """Noisy maps of samples that belong to images in turn, and the image of each."""
    image = np.arange(num_samples) % num_images
    kind = rng.integers(0, len(WIDTHS), num_images)[image]
    norm = (rng.lognormal(size=num_images) if heavy_tails else np.ones(num_images))[image]
    noise = np.abs(rng.standard_normal((num_samples, SIDE, SIDE)))
    return torch.from_numpy(norm[:, None, None] * BELLS[kind] * noise)[:, None], image


def lengths(intervals):
    return np.array([upper - lower for lower, upper in intervals])


MEASURES = {
    "diameter_50": lambda values: summaries.radius_mass(values).diameter(0.5),
    "diameter_90": lambda values: summaries.radius_mass(values).diameter(0.9),
    "equivalent_width": summaries.equivalent_width,
    "gaussian_sigma": lambda values: summaries.gaussian_fit(values).sigma,
    "effective_pixels": summaries.effective_pixels,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_samples", "num_images", "heavy_tails"),
    [(32, 32, False), (200, 200, False), (32, 32, True), (200, 200, True), (60, 6, False), (60, 3, False)],
    ids=["32 samples", "200 samples", "32, heavy tails", "200, heavy tails", "6 images", "3 images"],
)
def test_intervals_hold_the_true_value(num_samples, num_images, heavy_tails):
    rng = np.random.default_rng(0)
    erf = EffectiveReceptiveField(OwnGradient(), "last")
    truth = {key: measure(BELLS.mean(0)) for key, measure in MEASURES.items()}
    truth["extent_50"] = lengths(summaries.extent(BELLS.mean(0), 0.5))
    quantile = student.ppf(0.975, min(num_images, 10) - 1)
    held = {key: [] for key in truth}
    for _ in range(RUNS):
        maps, image = sample_maps(rng, num_samples, num_images, heavy_tails)
        field = erf.aggregate([maps], get_groups=lambda batch, image=image: image.tolist())
        row = field.summary()
        row["extent_50"], row["extent_50_se"] = field.estimate(lambda field: lengths(field.extent(0.5)))
        for key, true in truth.items():
            held[key].extend(np.atleast_1d(np.abs(row[key] - true) <= quantile * row[f"{key}_se"]))
    coverage = {key: np.mean(inside) for key, inside in held.items()}
    assert all(0.9 <= share <= 0.99 for share in coverage.values()), coverage
