"""
How fast does the effective receptive field grow with depth?

Reproduces figure 3 of Luo et al. (NeurIPS 2016): the threshold size (square root of the number of pixels above 4.55 %
of the centre's value) of chains of 3 x 3 convolutions against their depth, and its share of the theoretical field,
both on logarithmic axes.

Networks and inputs are those of shapes.py. The paper does not say which of its three kinds the published slopes are
of, nor the depths; here they are 5 to 40 layers, each kind has its own line, and errors are jackknife standard errors
over 100 draws of weights and inputs (--quick: 20).

Slope of size: published 0.56, in the limit 0.5; measured 0.481 (uniform), 0.532 ± 0.007 (random) and 0.534 ± 0.009
(random + ReLU). Slope of size over theoretical field: published -0.43, in the limit -0.5; measured -0.480, -0.429 ±
0.007 and -0.428 ± 0.009. The two differ by the slope of the theoretical field, 2 n + 1, which is 0.96 over these
depths.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
from collections.abc import Callable, Sequence

import numpy as np
from common import (
    MARKERS,
    PALETTE,
    arguments,
    convolutions,
    field_of_draws,
    joint_estimate,
    new_figure,
    save_figure,
    with_error,
    write_table,
)
from torch import nn

from captum_erf import ERFMap

options = arguments(__doc__, "growth")
DRAWS, DEPTHS = (20, (5, 10, 20)) if options.quick else (100, (5, 7, 10, 14, 20, 28, 40))
KINDS = {"uniform": ("uniform", None), "random": ("random", None), "random + ReLU": ("random", nn.ReLU)}


def measure(depth: int, weights: str, activation: type[nn.Module] | None) -> ERFMap:
    draws = 1 if weights == "uniform" else DRAWS
    return field_of_draws(lambda: convolutions(depth, activation, weights=weights), draws)


def share_of_trf(field: ERFMap) -> float:
    return field.threshold_size() / field.theoretical.size[0]


def slope(statistic: Callable[[ERFMap], float], fields: Sequence[ERFMap]) -> float:
    """Slope of the line through log statistic against log depth."""
    return float(np.polyfit(np.log(DEPTHS), np.log([statistic(field) for field in fields]), 1)[0])


# %% Sizes
fields = {kind: [measure(depth, *KINDS[kind]) for depth in DEPTHS] for kind in KINDS}
rows = [
    {
        "network": kind,
        "depth": depth,
        "draws": field.num_samples,
        "trf": field.theoretical.size[0],
        **with_error("threshold_size", field.estimate(ERFMap.threshold_size)),
        **with_error("share_of_trf", field.estimate(share_of_trf)),
    }
    for kind in KINDS
    for depth, field in zip(DEPTHS, fields[kind], strict=True)
]
write_table(rows, options.output / "sizes.csv")

# %% Slopes
slopes = [
    {
        "network": kind,
        **with_error("size", joint_estimate(fields[kind], lambda them: slope(ERFMap.threshold_size, them))),
        "published_size": 0.56,
        "theory_size": 0.5,
        **with_error("share", joint_estimate(fields[kind], lambda them: slope(share_of_trf, them))),
        "published_share": -0.43,
        "theory_share": -0.5,
    }
    for kind in KINDS
]
write_table(slopes, options.output / "slopes.csv")

# %%
figure, axes = new_figure(8, 3.9, 1, 2)
labels = {"threshold_size": "threshold size [px]", "share_of_trf": "threshold size / theoretical field"}
for panel, column, name in zip(axes.flat, labels, ("size", "share"), strict=True):
    for kind, colour, marker, line in zip(KINDS, PALETTE, MARKERS, slopes, strict=False):
        its = [row for row in rows if row["network"] == kind]
        sizes, errors = [row[column] for row in its], [row[f"{column}_se"] or 0.0 for row in its]
        error = "" if line[f"{name}_se"] is None else f" ± {line[f'{name}_se']:.3f}"
        label = f"{kind}: slope {line[name]:.3f}{error}"
        panel.errorbar(DEPTHS, sizes, errors, color=colour, marker=marker, markersize=4, capsize=2, label=label)
    middle = [row[column] for row in rows if row["network"] == "uniform"][len(DEPTHS) // 2]
    theory = 0.85 * middle * (np.array(DEPTHS) / DEPTHS[len(DEPTHS) // 2]) ** line[f"theory_{name}"]
    panel.plot(DEPTHS, theory, color="0.5", ls="--", label=f"slope {line[f'theory_{name}']}, the theory's limit")
    panel.set(xscale="log", yscale="log", xlabel="layers", ylabel=labels[column])
    panel.set_xticks(DEPTHS, map(str, DEPTHS), minor=False)
    panel.set_xticks([], minor=True)
    low, high = panel.get_ylim()
    low, high = (low, high * 1.5) if name == "size" else (low / 1.5, high)
    panel.set_ylim(low, high)
    ticks = [tick for tick in (0.2, 0.3, 0.4, 0.5, 0.7, 1, 5, 7, 10, 15, 20, 30, 50) if low <= tick <= high]
    panel.set_yticks(ticks, map(str, ticks), minor=False)
    panel.set_yticks([], minor=True)
    panel.legend(fontsize="small", loc="upper left" if name == "size" else "lower left", frameon=False)
caption = (
    f"Threshold size of chains of 3 x 3 convolutions against depth: mean over {DRAWS} draws of weights and "
    "inputs (uniform weights need one), bars and ± are standard errors over draws. Published slopes: 0.56 and "
    "-0.43."
)
save_figure(figure, options.output / "growth.png", caption)
