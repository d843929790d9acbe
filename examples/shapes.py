"""
Is the effective receptive field a Gaussian?

Reproduces figures 1 and 2 of Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural
Networks" (NeurIPS 2016): fields of 5, 10, 20 and 40 layers of 3 x 3 convolutions with uniform weights, random
weights, and random weights with ReLU; then 20 layers with ReLU, Tanh and Sigmoid.

Networks: no bias, no padding; the input is as large as the theoretical field, so that one output unit is left,
measured after its activation and summed over its channels. Uniform: one channel, all weights 1 / 9. Random: 8
channels in every layer, normal weights of variance 1 / fan-in, with ReLU 2 / fan-in. The paper says neither the
number of channels nor how its random weights scale; it names He et al. and Glorot and Bengio. Inputs: one channel of
standard normal noise. Means are over 200 draws (--quick: 30) of weights and inputs together; the paper took 20 for
figure 1 and 100 for figure 2.

Published, as pictures without numbers: "perfect Gaussian shapes" for uniform and for random weights, "near Gaussian"
with ReLU. Random weights of zero mean make E(dy/dx)^2 the map of the uniform network, so that E|dy/dx| is about its
square root, a Gaussian wider by sqrt(2): sigma_theory below is sqrt(2 depth / 3) for uniform weights, sqrt(4 depth /
3) else.

Measured: uniform maps equal theory.uniform_stack to 3e-9, R^2 0.9995 to 1.0000 and beta 2.11 (5 layers) to 2.02 (40).
Random weights: R^2 0.991 to 0.997, beta 2.16 to 2.07. With ReLU: R^2 0.988 to 0.994, beta 2.01 to 2.12. 20 layers
with ReLU, Tanh, Sigmoid: R^2 0.991, 0.996, 0.996, beta 2.18, 2.08, 2.11. From 10 layers on all widths are within 3 %
of sigma_theory. ReLU comes as near to a Gaussian as linear layers once weights and inputs are drawn 200 times.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
from math import sqrt

import numpy as np
from common import arguments, beta_of, convolutions, draw_map, field_of_draws, new_figure, save_figure, write_table
from torch import nn

from captum_erf import ERFMap, theory

options = arguments(__doc__, "shapes")
DRAWS, DEPTHS, WIDTH = (30, (5, 10), 8) if options.quick else (200, (5, 10, 20, 40), 8)
KINDS = {"uniform": ("uniform", None), "random": ("random", None), "random + ReLU": ("random", nn.ReLU)}
ACTIVATIONS = {"ReLU": nn.ReLU, "Tanh": nn.Tanh, "Sigmoid": nn.Sigmoid}


def measure(depth: int, weights: str, activation: type[nn.Module] | None) -> ERFMap:
    draws = 1 if weights == "uniform" else DRAWS
    return field_of_draws(lambda: convolutions(depth, activation, weights=weights, width=WIDTH), draws)


def row(network: str, depth: int, field: ERFMap) -> dict[str, object]:
    fit = field.gaussian_fit()
    uniform = network == "uniform"
    exact = theory.uniform_stack(depth, 3)
    return {
        "network": network,
        "depth": depth,
        "draws": field.num_samples,
        "dead": field.num_dead,
        "trf": field.theoretical.size[0],
        "threshold_size": field.threshold_size(),
        "sigma": sqrt(fit.sigmas.prod()),
        "sigma_theory": theory.gaussian_sigma([(3, 1, 1)] * depth) * (1 if uniform else sqrt(2)),
        "r2": fit.r2,
        "beta": beta_of(field),
        "error_to_theory": float(np.abs(field.values / field.values.sum() - exact).max()) if uniform else None,
    }


def note(row: dict[str, object]) -> str:
    return f"$R^2$ = {row['r2']:.3f}   $\\beta$ = {row['beta']:.2f}"


# %% Figure 1: depth, weights and ReLU
fields = {(kind, depth): measure(depth, *KINDS[kind]) for kind in KINDS for depth in DEPTHS}
rows = [row(kind, depth, field) for (kind, depth), field in fields.items()]
write_table(rows, options.output / "shapes.csv")

figure, axes = new_figure(8, 6.8, len(KINDS), len(DEPTHS))
for panel, (kind, depth), numbers in zip(axes.flat, fields, rows, strict=True):
    title = f"{depth} layers, TRF {numbers['trf']} px"
    image = draw_map(panel, fields[kind, depth].values, title, note(numbers))
for panel, kind in zip(axes[:, 0], KINDS, strict=True):
    panel.set_ylabel(kind)
figure.colorbar(image, ax=axes, label="mean |dy/dx| over its maximum (linear)", shrink=0.6)
caption = (
    "Effective receptive fields of chains of 3 x 3 convolutions; each panel is the theoretical receptive "
    f"field. Mean over {DRAWS} draws of weights and inputs ({WIDTH} channels; uniform weights need one). R² of "
    "a Gaussian fit; beta of a generalised Gaussian, 2 for a Gaussian."
)
save_figure(figure, options.output / "shapes.png", caption)

# %% Figure 2: activations
fields = {name: measure(20, "random", activation) for name, activation in ACTIVATIONS.items()}
rows = [row(name, 20, field) for name, field in fields.items()]
write_table(rows, options.output / "activations.csv")

figure, axes = new_figure(8, 3.4, 1, len(fields))
for panel, (name, field), numbers in zip(axes.flat, fields.items(), rows, strict=True):
    image = draw_map(panel, field.values, name, note(numbers))
figure.colorbar(image, ax=axes, label="mean |dy/dx| over its max. (linear)")
caption = (
    f"The same after 20 layers with three activations: mean over {DRAWS} draws of weights and inputs, {WIDTH} "
    "channels, theoretical receptive field 41 x 41."
)
save_figure(figure, options.output / "activations.png", caption)
