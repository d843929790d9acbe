"""
Is the effective receptive field a Gaussian?

Reproduces figures 1 and 2 of Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural
Networks" (NeurIPS 2016): fields of 5, 10, 20 and 40 layers of 3 x 3 convolutions with uniform weights, random
weights, and random weights with ReLU; then 20 layers with ReLU, Tanh and Sigmoid; and what the paper says of dropout in
section 2.3, that it leaves the shape Gaussian.

Networks: no bias, no padding; the input is as large as the theoretical field, so that one output unit is left,
measured after its activation and summed over its channels. Uniform: one channel, all weights 1 / 9. Random: 8
channels in every layer, normal weights of variance 1 / fan-in, with ReLU 2 / fan-in. The paper says neither the
number of channels nor how its random weights scale; it names He et al. and Glorot and Bengio. Inputs: one channel of
standard normal noise. Means are over 100 draws (--quick: 20) of weights and inputs together; the paper took 20 for
figure 1 and 100 for figure 2. Dropout follows every activation, as in training.

R^2 is that of a Gaussian with free centre, corrected by the jackknife for the noise of few draws: uncorrected it is
lower the fewer the draws are, and calls noise a departure from the Gaussian. Errors are standard errors over draws.

Published, as pictures without numbers: "perfect Gaussian shapes" for uniform and for random weights, "near Gaussian"
with ReLU. Random weights of zero mean make E(dy/dx)^2 the map of the uniform network, so that E|dy/dx| is about its
square root, a Gaussian wider by sqrt(2): sigma_theory below is sqrt(2 depth / 3) for uniform weights, sqrt(4 depth /
3) else.
"""

# %%
from math import sqrt

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
    write_table,
)
from torch import nn

from captum_erf import ERFMap, theory

options = arguments(__doc__, "shapes")
DRAWS, DEPTHS, ACTIVATED = (20, (5, 10), 10) if options.quick else (100, (5, 10, 20, 40), 20)
KINDS = {"uniform": ("uniform", None), "random": ("random", None), "random + ReLU": ("random", nn.ReLU)}
VARIANTS = {
    "ReLU": (nn.ReLU, 0.0),
    "Tanh": (nn.Tanh, 0.0),
    "Sigmoid": (nn.Sigmoid, 0.0),
    "ReLU, dropout 0.5": (nn.ReLU, 0.5),
}


def measure(depth: int, weights: str, activation: type[nn.Module] | None, dropout: float = 0.0) -> ERFMap:
    """Dropout masks differ from pass to pass, so neither evaluation mode nor the check of windows will do."""
    draws = 1 if weights == "uniform" else DRAWS
    as_in_training = {"eval_mode": False, "window": False} if dropout else {}
    return field_of_draws(
        lambda: convolutions(depth, activation, weights=weights, dropout=dropout), draws, **as_in_training
    )


def row(network: str, depth: int, field: ERFMap) -> dict[str, object]:
    uniform = network == "uniform"
    exact = theory.uniform_stack(depth, 3)
    return {
        "network": network,
        "depth": depth,
        "draws": field.num_samples,
        "dead": field.num_dead,
        "trf": field.theoretical.size[0],
        **measured(field, "threshold_size", "gaussian_sigma"),
        "sigma_theory": theory.gaussian_sigma([(3, 1, 1)] * depth) * (1 if uniform else sqrt(2)),
        "r2_plain": field.gaussian_fit().r2,
        **measured(field, "gaussian_r2"),
        "beta": beta_of(field),
        "error_to_theory": float(np.abs(field.values / field.values.sum() - exact).max()) if uniform else None,
    }


def note(row: dict[str, object]) -> str:
    return f"$R^2$ = {row['gaussian_r2']:.4f}\n$\\beta$ = {row['beta']:.2f}"


# %% Figure 1: depth, weights and ReLU
fields = {(kind, depth): measure(depth, *KINDS[kind]) for kind in KINDS for depth in DEPTHS}
rows = [row(kind, depth, field) for (kind, depth), field in fields.items()]
write_table(rows, options.output / "shapes.csv")

figure, axes = new_figure(8, 8, len(KINDS), len(DEPTHS))
for panel, (kind, depth), numbers in zip(axes.flat, fields, rows, strict=True):
    draw_map(panel, fields[kind, depth].values, f"{depth} layers, TRF {numbers['trf']} px", note(numbers))
for panel, kind in zip(axes[:, 0], KINDS, strict=True):
    panel.set_ylabel(kind)
for panel in axes[:, -1]:
    colour_bar(panel)
caption = (
    "Effective receptive fields of chains of 3 x 3 convolutions: mean |dy/dx| over its maximum, linear; each panel is "
    f"the theoretical receptive field (TRF). Mean over {DRAWS} draws of weights and inputs (8 "
    "channels; uniform weights need one). R² of a Gaussian, corrected for the noise of few draws; beta is the exponent "
    "of the generalised Gaussian that fits best, 2 for a Gaussian."
)
save_figure(figure, options.output / "shapes.png", caption)

# %% Figure 2: activations, and dropout
fields = {name: measure(ACTIVATED, "random", *variant) for name, variant in VARIANTS.items()}
rows = [row(name, ACTIVATED, field) for name, field in fields.items()]
write_table(rows, options.output / "activations.csv")

figure, axes = new_figure(8, 3.1, 1, len(fields))
for panel, (name, field), numbers in zip(axes.flat, fields.items(), rows, strict=True):
    draw_map(panel, field.values, name, note(numbers))
colour_bar(axes[0, -1])
side = rows[0]["trf"]
caption = (
    f"Effective receptive fields after {ACTIVATED} layers with three activations, and with dropout: "
    f"mean |dy/dx| over its maximum, linear, over {DRAWS} draws of weights and inputs; each panel is the theoretical "
    f"receptive field, {side} x {side}. R² of a Gaussian, corrected for the noise of few draws; beta 2 is a Gaussian."
)
save_figure(figure, options.output / "activations.png", caption)
