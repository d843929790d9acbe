"""
What do subsampling and dilation do to the effective receptive field?

Reproduces figure 4 of Luo et al. (NeurIPS 2016): 15 dense 3 x 3 convolutions; the same with three of them at stride
2; the same with three of them dilated by 2, 4 and 8.

Networks and inputs are those of shapes.py; means are over 50 draws (--quick: 10). The paper does not say which three
layers it replaced, nor whether its networks have activations: here layers 4, 8 and 12 are replaced, and every network
is measured with uniform weights, random weights, and random weights with ReLU. The theoretical fields that follow are
31, 105 and 53 pixels. Published, as pictures: both make the field significantly larger, and dilation makes it
rectangular.

Why rectangular: with uniform weights, and for the mean square with random ones, the map is a product of one profile
along each axis. Only the Gaussian makes such a product round. Three taps spaced by 2, 4 and 8 together are nearly
flat over 29 pixels, too few layers at that spacing to tend to a Gaussian; a product of flat profiles is a square. Two
numbers say so. squareness: the map's mean Chebyshev distance from the centre over its mean Euclidean distance is 0.900
for a round map of any profile, called 0, and 0.871 for an even square, called 1. beta: exponent of the generalised
Gaussian that fits best; 2 for a Gaussian, more the flatter the top.
"""

# %%
from math import asinh, pi, sqrt

import numpy as np
from helpers import (
    arguments,
    beta_of,
    colour_bar,
    convolutions,
    draw_map,
    field_of_draws,
    measured,
    new_figure,
    save_figure,
    with_error,
    write_table,
)
from torch import nn

from captum_erf import ERFMap

options = arguments(__doc__, "subsampling")
DRAWS = 10 if options.quick else 50
KINDS = {"uniform": ("uniform", None), "random": ("random", None), "random + ReLU": ("random", nn.ReLU)}
NETWORKS = {
    "dense": {},
    "stride 2 in three layers": {"strides": {4: 2, 8: 2, 12: 2}},
    "dilation 2, 4, 8": {"dilations": {4: 2, 8: 4, 12: 8}},
}


def measure(weights: str, activation: type[nn.Module] | None, replaced: dict[str, dict[int, int]]) -> ERFMap:
    draws = 1 if weights == "uniform" else DRAWS
    return field_of_draws(lambda: convolutions(15, activation, weights=weights, **replaced), draws)


ROUND = 2 * sqrt(2) / pi  # mean Chebyshev over mean Euclidean distance from the centre, of a round map
SQUARE = 2 / (sqrt(2) + asinh(1))  # of an even square


def mean_distance(field: ERFMap, metric: str) -> float:
    curve = field.radius_mass(metric, center="unit")
    return float(np.trapezoid(1 - curve.mass, curve.sides)) / 2


def squareness(field: ERFMap) -> float:
    """Where the ratio of mean distances lies between that of any round map, 0, and that of an even square, 1."""
    ratio = mean_distance(field, "chebyshev") / mean_distance(field, "euclidean")
    return (ROUND - ratio) / (ROUND - SQUARE)


# %%
fields = {(kind, name): measure(*KINDS[kind], NETWORKS[name]) for kind in KINDS for name in NETWORKS}
rows = [
    {
        "weights": kind,
        "network": name,
        "trf": field.theoretical.size[0],
        **measured(field, "diameter_50", "diameter_90", "threshold_size"),
        **with_error("squareness", field.estimate(squareness)),
        **measured(field, "gaussian_r2"),
        "beta": beta_of(field),
    }
    for (kind, name), field in fields.items()
]
write_table(rows, options.output / "subsampling.csv")

# %%
figure, axes = new_figure(8, 8.4, len(KINDS), len(NETWORKS))
for panel, (kind, name), row in zip(axes.flat, fields, rows, strict=True):
    note = f"50 %: {row['diameter_50']:.1f} px, 90 %: {row['diameter_90']:.1f} px\nsquareness {row['squareness']:.2f}"
    draw_map(panel, fields[kind, name].values, f"{name}\nTRF {row['trf']} px", note)
for panel, kind in zip(axes[:, 0], KINDS, strict=True):
    panel.set_ylabel(kind)
for panel in axes[:, -1]:
    colour_bar(panel)
caption = (
    "Effective receptive fields of 15 layers of 3 x 3 convolutions: mean |dy/dx| over its maximum; each panel is "
    f"the theoretical receptive field (TRF). Mean over {DRAWS} draws of weights and inputs (uniform "
    "weights need one). Below: the sides of the boxes that hold 50 and 90 % of the map, and its squareness, which is 0 "
    "for a round map and 1 for an even square."
)
save_figure(figure, options.output / "subsampling.png", caption)
