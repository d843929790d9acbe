"""
Do skip connections make the effective receptive field smaller?

Reproduces a statement of Luo et al. (NeurIPS 2016), section 2.4: skip connections make it smaller, as the field of a
sum is that of its paths, and the shorter paths see less. The paper does not quantify it.

Networks: chains of 3 x 3 convolutions as in shapes.py (8 channels, random normal weights of variance 2 / fan-in),
plain, ``conv(relu(x))`` for every layer after the first, and with a skip connection around every such layer, ``x +
conv(relu(x))``. Both have the same weights, theoretical field and number of layers. Means are over 50 draws
(--quick: 10) of weights and normal random inputs.

Published: smaller, without a number. Theory for it: branch and skip carry equal variance, so that the number of
convolutions along a path is binomial, and the variance of the map of mean squares is half that of the plain network,
plus that of the first layer: a ratio of widths of sqrt((1 + (n - 1) / 2) / n), which tends to 0.71.
"""

# %%
from math import sqrt

import torch
from helpers import (
    COLOURS,
    MARKERS,
    arguments,
    colour_bar,
    draw_curve,
    draw_map,
    field_of_draws,
    new_figure,
    save_figure,
    with_error,
    write_table,
)
from torch import Tensor, nn

from captum_erf import ERFMap

options = arguments(__doc__, "skip_connections")
DRAWS, DEPTHS = (10, (5, 10)) if options.quick else (50, (5, 10, 20))
WIDTH = 8


class Layer(nn.Module):
    """``conv(relu(x))``, and the middle of x added to it where there is a skip connection."""

    def __init__(self, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        self.convolution = nn.Conv2d(WIDTH, WIDTH, 3, bias=False)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x.relu())
        return y + x[..., 1:-1, 1:-1] if self.skip else y


def network(depth: int, skip: bool) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, WIDTH, 3, bias=False), *[Layer(skip) for _ in range(depth - 1)])


def measure(depth: int, skip: bool) -> ERFMap:
    torch.manual_seed(depth)
    return field_of_draws(lambda: network(depth, skip), DRAWS)


def ratio(skipping: ERFMap, plain: ERFMap) -> tuple[float, float]:
    """Both saw the same inputs through the same weights, draw by draw."""
    value, error_of_log = skipping.ratio(plain, ERFMap.threshold_size)
    return value, value * error_of_log


# %%
fields = {depth: [measure(depth, skip) for skip in (False, True)] for depth in DEPTHS}
rows = [
    {
        "depth": depth,
        "draws": plain.num_samples,
        "trf": skipping.theoretical.size[0],
        **with_error("plain", plain.estimate(ERFMap.threshold_size)),
        **with_error("skips", skipping.estimate(ERFMap.threshold_size)),
        **with_error("ratio", ratio(skipping, plain)),
        "ratio_theory": sqrt((1 + (depth - 1) / 2) / depth),
    }
    for depth, (plain, skipping) in fields.items()
]
write_table(rows, options.output / "skip_connections.csv")

# %%
figure, axes = new_figure(8, 3.7, 1, 3, width_ratios=(1, 1, 1.25))
deepest = DEPTHS[-1]
names = {"plain": "without skips", "skips": "with skips"}
for panel, field, (name, words) in zip(axes[0], fields[deepest], names.items(), strict=False):
    size = f"threshold size\n{rows[-1][name]:.1f} ± {rows[-1][f'{name}_se']:.1f} px"
    draw_map(panel, field.values, f"{deepest} layers, {words}", size)
colour_bar(axes[0, 1])
for (name, words), colour, marker in zip(names.items(), COLOURS, MARKERS, strict=False):
    draw_curve(axes[0, 2], DEPTHS, rows, name, color=colour, marker=marker, label=words)
axes[0, 2].set(xlabel="layers", ylabel="threshold size [px]", ylim=(0, None), xticks=DEPTHS)
axes[0, 2].legend(frameon=False, loc="upper left")
caption = (
    "Effective receptive fields of chains of 3 x 3 convolutions with random weights and ReLU, with and without a skip "
    "connection around every layer: mean |dy/dx| over its maximum, linear; panels are the theoretical receptive field, "
    f"{2 * deepest + 1} x {2 * deepest + 1}. Mean over {DRAWS} draws of weights and inputs; bars and ± are standard "
    "errors over draws."
)
save_figure(figure, options.output / "skip_connections.png", caption)
