"""
How fast does the effective receptive field grow with depth?

Reproduces figure 3 of Luo et al. (NeurIPS 2016): the threshold size (square root of the number of pixels above 4.55 %
of the centre's value) of chains of 3 x 3 convolutions against their depth, and its share of the theoretical field,
both on logarithmic axes.

Networks and inputs are those of shapes.py. The paper does not say which of its three kinds the published slopes are
of, nor the depths; here they are 5 to 40 layers, each kind has its own line, and errors are jackknife standard errors
over 50 draws of weights and inputs (--quick: 12).

In closed form, the map of uniform weights is ``theory.uniform_stack``; its square root is the shape of random weights,
whose mean squares it is. Both are drawn in, counted like the measured maps. They tend to slopes of 0.5 and, over the
theoretical field, -0.5; at these depths they are not there yet.

Published: slopes of 0.56 for the size and -0.43 for its share of the theoretical field. The two differ by the slope of
the theoretical field, 2 n + 1, which is 0.96 over these depths.
"""

# %%
from collections.abc import Sequence

import numpy as np
from helpers import (
    COLOURS,
    MARKERS,
    arguments,
    convolutions,
    draw_curve,
    field_of_draws,
    measured,
    new_figure,
    save_figure,
    with_error,
    write_table,
)
from torch import nn

from captum_erf import ERFMap, summaries, theory

options = arguments(__doc__, "growth")
DRAWS, DEPTHS = (12, (4, 8, 16)) if options.quick else (50, (5, 7, 10, 14, 20, 28, 40))
KINDS = {"uniform": ("uniform", None), "random": ("random", None), "random + ReLU": ("random", nn.ReLU)}


def measure(depth: int, weights: str, activation: type[nn.Module] | None) -> ERFMap:
    draws = 1 if weights == "uniform" else DRAWS
    return field_of_draws(lambda: convolutions(depth, activation, weights=weights), draws)


def in_closed_form(depth: int, root: float) -> float:
    """Threshold size of the exact map of a uniform network, or of its square root."""
    return summaries.threshold_size(theory.uniform_stack(depth, 3) ** root, (depth, depth))


def slope(sizes: Sequence[float]) -> float:
    """Slope of the line through log size against log depth."""
    return float(np.polyfit(np.log(DEPTHS), np.log(sizes), 1)[0])


def slope_of(fields: Sequence[ERFMap]) -> tuple[float, float | None]:
    """The slope of measured sizes, its standard error from theirs, which are of different draws."""
    sizes, errors = zip(*(field.estimate(ERFMap.threshold_size) for field in fields), strict=True)
    if None in errors:
        return slope(sizes), None
    logs = np.log(DEPTHS) - np.log(DEPTHS).mean()
    return slope(sizes), float(np.linalg.norm(logs * np.array(errors) / sizes) / (logs @ logs))


# %% Sizes
fields = {kind: [measure(depth, *KINDS[kind]) for depth in DEPTHS] for kind in KINDS}
rows = [
    {
        "network": kind,
        "depth": depth,
        "draws": field.num_samples,
        "trf": 2 * depth + 1,
        **measured(field, "threshold_size"),
        "closed_form": in_closed_form(depth, 1 if kind == "uniform" else 0.5),
        **with_error("share_of_trf", field.estimate(lambda field: field.threshold_size() / field.theoretical.size[0])),
    }
    for kind in KINDS
    for depth, field in zip(DEPTHS, fields[kind], strict=True)
]
write_table(rows, options.output / "sizes.csv")

# %% Slopes
growth_of_trf = slope([2 * depth + 1 for depth in DEPTHS])
slopes = []
for kind in KINDS:
    size, error = slope_of(fields[kind])
    closed = slope([row["closed_form"] for row in rows if row["network"] == kind])
    slopes.append(
        {
            "network": kind,
            **with_error("size", (size, error)),
            "size_closed_form": closed,
            "size_published": 0.56,
            **with_error("share", (size - growth_of_trf, error)),
            "share_closed_form": closed - growth_of_trf,
            "share_published": -0.43,
        }
    )
write_table(slopes, options.output / "slopes.csv")

# %%
figure, axes = new_figure(8, 4.1, 1, 2)
labels = {"threshold_size": "threshold size [px]", "share_of_trf": "threshold size over theoretical field"}
closed_forms = {1: ("exact, uniform weights", "--"), 0.5: ("its square root", ":")}
for panel, (column, label), name in zip(axes.flat, labels.items(), ("size", "share"), strict=True):
    for kind, colour, marker, line in zip(KINDS, COLOURS, MARKERS, slopes, strict=False):
        error = "" if line[f"{name}_se"] is None else f" ± {line[f'{name}_se']:.3f}"
        draw_curve(
            panel,
            DEPTHS,
            [row for row in rows if row["network"] == kind],
            column,
            color=colour,
            marker=marker,
            ls="",
            label=f"{kind}: slope {line[name]:.3f}{error}",
        )
    for (root, (words, style)), line in zip(closed_forms.items(), slopes, strict=False):
        depths = range(DEPTHS[0], DEPTHS[-1] + 1)
        sizes = [in_closed_form(depth, root) / (1 if name == "size" else 2 * depth + 1) for depth in depths]
        words = f"{words}: slope {line[f'{name}_closed_form']:.3f}"
        panel.plot(depths, sizes, color="0.35", ls=style, lw=1.2, label=words, zorder=0)
    panel.set(xscale="log", yscale="log", xlabel="layers", ylabel=label)
    panel.set_xticks(DEPTHS, map(str, DEPTHS))
    low, high = panel.get_ylim()
    low, high = (low * 0.9, high * 1.7) if name == "size" else (low / 1.7, high * 1.1)
    ticks = [tick for tick in (0.2, 0.3, 0.4, 0.5, 0.7, 1, 5, 7, 10, 15, 20, 30, 40) if low <= tick <= high]
    panel.set_yticks(ticks, map(str, ticks))
    panel.set_ylim(low, high)
    panel.minorticks_off()
    panel.legend(fontsize="small", loc="upper left" if name == "size" else "lower left", frameon=False)
caption = (
    "Threshold size of the effective receptive field of chains of 3 x 3 convolutions against their number of layers: "
    f"mean over {DRAWS} draws of weights and inputs (uniform weights need one); bars and ± are standard errors over "
    "draws. Lines: the closed form, and its square root, which is the shape for random weights. Luo et al. published "
    "slopes of 0.56 and -0.43."
)
save_figure(figure, options.output / "growth.png", caption)
