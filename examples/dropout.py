"""
Does dropout change the shape of the effective receptive field?

Reproduces a statement of Luo et al. (NeurIPS 2016), section 2.4, which the paper derives and does not measure:
dropout does not change the Gaussian shape.

Networks: 20 layers of 3 x 3 convolutions with random weights and ReLU, as in shapes.py but of 16 channels, with
dropout of single values after every ReLU at rates of 0, 0.2 and 0.5. Dropout is active, its masks are drawn anew
together with weights and inputs; means are over 100 such draws (--quick: 20). The paper leaves the rate and the place
of the dropout open.

Published: no number. Two say so here: beta, the exponent of the generalised Gaussian that fits best, beside the
Gaussian's 2; and the width, which the theory leaves unchanged: sqrt(4 * 20 / 3) = 5.16 pixels.

Measured: beta 2.04 ± 0.07, 2.01 ± 0.06 and 1.97 ± 0.11 and sigma 5.15 ± 0.04, 5.08 ± 0.05 and 5.04 ± 0.06 px at rates
of 0, 0.2 and 0.5: no change of shape; the width may shrink by 2 %.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
from math import sqrt

from common import (
    arguments,
    beta_of,
    convolutions,
    draw_map,
    field_of_draws,
    new_figure,
    save_figure,
    with_error,
    write_table,
)
from torch import nn

from captum_erf import ERFMap

options = arguments(__doc__, "dropout")
DRAWS, DEPTH = (20, 10) if options.quick else (100, 20)
RATES = (0.0, 0.5) if options.quick else (0.0, 0.2, 0.5)


def measure(rate: float) -> ERFMap:
    """Dropout masks differ from pass to pass, so neither evaluation mode nor the check of windows will do."""
    return field_of_draws(
        lambda: convolutions(DEPTH, nn.ReLU, dropout=rate, width=16), DRAWS, eval_mode=False, window=False
    )


def sigma(field: ERFMap) -> float:
    return sqrt(field.gaussian_fit().sigmas.prod())


# %%
fields = {rate: measure(rate) for rate in RATES}
rows = [
    {
        "rate": rate,
        "draws": field.num_samples,
        "dead": field.num_dead,
        "r2": field.gaussian_fit().r2,
        **with_error("beta", field.estimate(beta_of)),
        **with_error("sigma", field.estimate(sigma)),
        "sigma_theory": sqrt(4 * DEPTH / 3),
        **with_error("threshold_size", field.estimate(ERFMap.threshold_size)),
    }
    for rate, field in fields.items()
]
write_table(rows, options.output / "dropout.csv")

# %%
figure, axes = new_figure(8, 3.6, 1, len(RATES))
for panel, (rate, field), row in zip(axes.flat, fields.items(), rows, strict=True):
    note = f"$R^2$ = {row['r2']:.3f}   $\\beta$ = {row['beta']:.2f} ± {row['beta_se']:.2f}"
    image = draw_map(panel, field.values, f"dropout {rate:g}" if rate else "no dropout", note)
figure.colorbar(image, ax=axes, label="mean |dy/dx| over its max. (linear)")
caption = (
    f"{DEPTH} layers of 3 x 3 convolutions with random weights and ReLU; each panel is the theoretical "
    f"receptive field, {2 * DEPTH + 1} x {2 * DEPTH + 1}. Mean over {DRAWS} draws of weights, inputs and "
    "dropout masks; beta of a generalised Gaussian (2 for a Gaussian) with its standard error over draws."
)
save_figure(figure, options.output / "dropout.png", caption)
