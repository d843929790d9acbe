"""
What do subsampling and dilation do to the effective receptive field?

Reproduces figure 4 of Luo et al. (NeurIPS 2016): 15 dense 3 x 3 convolutions; the same with three of them at stride
2; the same with three of them dilated by 2, 4 and 8.

Networks and inputs are those of shapes.py; means are over 100 draws (--quick: 10). The paper does not say which three
layers it replaced, nor whether its networks have activations: here layers 4, 8 and 12 are replaced, and every network
is measured with uniform weights, random weights, and random weights with ReLU. The theoretical fields that follow are
31, 105 and 53 pixels. Published, as pictures: both make the field significantly larger, and dilation makes it
rectangular.

Why rectangular: with uniform weights, and for the mean square with random ones, the map is a product of one profile
along each axis. Only the Gaussian makes such a product round. Three taps spaced by 2, 4 and 8 together are nearly
flat over 29 pixels, too few layers at that spacing to tend to a Gaussian; a product of flat profiles is a square. Two
numbers say so. box_to_disc: the map's mean Chebyshev distance from the centre over its mean Euclidean distance; 0.900
for a round map of any profile, 0.871 for an even square. beta: exponent of the generalised Gaussian that fits best; 2
for a Gaussian, more the flatter the top.

Measured with random weights and ReLU: threshold sizes of 19.2 ± 0.2 px (dense), 79 ± 1 px (stride 2) and 41.7 ± 0.4
px (dilation); box_to_disc 0.895 ± 0.001, 0.8950 ± 0.0005 and 0.8865 ± 0.0004; beta 2.2, 2.2 and 3.5. The dilated
field lies about half way from a disc to a square, the strided one is as round as the dense one.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
import numpy as np
from common import (
    arguments,
    convolutions,
    diameter,
    draw_map,
    field_of_draws,
    new_figure,
    save_figure,
    shape_of,
    with_error,
    write_table,
)
from torch import nn

from captum_erf import ERFMap

options = arguments(__doc__, "subsampling")
DRAWS = 10 if options.quick else 100
KINDS = {"uniform": ("uniform", None), "random": ("random", None), "random + ReLU": ("random", nn.ReLU)}
NETWORKS = {
    "dense": {},
    "stride 2 in three layers": {"strides": {4: 2, 8: 2, 12: 2}},
    "dilation 2, 4, 8": {"dilations": {4: 2, 8: 4, 12: 8}},
}


def measure(weights: str, activation: type[nn.Module] | None, replaced: dict[str, dict[int, int]]) -> ERFMap:
    draws = 1 if weights == "uniform" else DRAWS
    return field_of_draws(lambda: convolutions(15, activation, weights=weights, **replaced), draws)


def mean_distance(field: ERFMap, metric: str) -> float:
    curve = field.radius_mass(metric, center="unit")
    return float(np.trapezoid(1 - curve.mass, curve.sides)) / 2


def box_to_disc(field: ERFMap) -> float:
    return mean_distance(field, "chebyshev") / mean_distance(field, "euclidean")


# %%
fields = {(kind, name): measure(*KINDS[kind], NETWORKS[name]) for kind in KINDS for name in NETWORKS}
rows = [
    {
        "weights": kind,
        "network": name,
        "trf": field.theoretical.size[0],
        **with_error("threshold_size", field.estimate(ERFMap.threshold_size)),
        **with_error("diameter_95", field.estimate(diameter(0.95))),
        **with_error("box_to_disc", field.estimate(box_to_disc)),
        "r2": field.gaussian_fit().r2,
        **shape_of(field),
    }
    for (kind, name), field in fields.items()
]
write_table(rows, options.output / "subsampling.csv")

# %%
figure, axes = new_figure(7, 8.8, len(KINDS), len(NETWORKS))
figure.get_layout_engine().set(h_pad=0.14)
for panel, (kind, name), row in zip(axes.flat, fields, rows, strict=True):
    note = f"size {row['threshold_size']:.1f} px\nbox : disc {row['box_to_disc']:.3f}, $\\beta$ {row['beta']:.1f}"
    image = draw_map(panel, fields[kind, name].values, f"{name}\nTRF {row['trf']} px", note)
for panel, kind in zip(axes[:, 0], KINDS, strict=True):
    panel.set_ylabel(kind)
figure.colorbar(image, ax=axes, label="mean |dy/dx| over its maximum (linear)", shrink=0.6)
caption = (
    f"15 layers of 3 x 3 convolutions; each panel is the theoretical receptive field. Mean over {DRAWS} draws "
    "of weights and inputs (uniform weights need one). Box : disc is the ratio of mean Chebyshev to mean "
    "Euclidean distance, 0.900 if round and 0.871 if square; beta is that of a generalised Gaussian, 2 for a "
    "Gaussian."
)
save_figure(figure, options.output / "subsampling.png", caption)
