"""
Do skip connections make the effective receptive field smaller?

Reproduces a statement of Luo et al. (NeurIPS 2016), section 2.4: skip connections make it smaller, as the field of a
sum is that of its paths, and the shorter paths see less. The paper does not quantify it.

Networks: chains of 3 x 3 convolutions as in shapes.py (8 channels, random normal weights of variance 2 / fan-in),
plain, ``conv(relu(x))`` for every layer after the first, and with a skip connection around every such layer, ``x +
conv(relu(x))``. Both have the same weights, theoretical field and number of layers. Means are over 100 draws
(--quick: 10) of weights and normal random inputs.

Published: smaller, without a number. Theory for it: branch and skip carry equal variance, so that the number of
convolutions along a path is binomial, and the variance of the map of mean squares is half that of the plain network,
plus that of the first layer: a ratio of widths of sqrt((1 + (n - 1) / 2) / n), which tends to 0.71.

Measured ratio of threshold sizes with and without skips, beside that theory: 0.84 (0.77) at 5 layers, where the plain
network's size is cut off by its theoretical field; 0.77 ± 0.02 (0.74) at 10, 0.72 ± 0.03 (0.72) at 20 and 0.74 ± 0.02
(0.72) at 40 layers.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
from collections.abc import Sequence
from math import sqrt

import torch
from common import (
    arguments,
    draw_curves,
    draw_map,
    field_of_draws,
    joint_estimate,
    new_figure,
    save_figure,
    with_error,
    write_table,
)
from torch import Tensor, nn

from captum_erf import ERFMap

options = arguments(__doc__, "skip_connections")
DRAWS, DEPTHS = (10, (5, 10)) if options.quick else (100, (5, 10, 20, 40))
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


def ratio(pair: Sequence[ERFMap]) -> float:
    plain, skipping = pair
    return skipping.threshold_size() / plain.threshold_size()


# %%
fields = {depth: [measure(depth, skip) for skip in (False, True)] for depth in DEPTHS}
rows = [
    {
        "depth": depth,
        "draws": plain.num_samples,
        "trf": skipping.theoretical.size[0],
        **with_error("plain", plain.estimate(ERFMap.threshold_size)),
        **with_error("skips", skipping.estimate(ERFMap.threshold_size)),
        **with_error("ratio", joint_estimate([plain, skipping], ratio)),
        "ratio_theory": sqrt((1 + (depth - 1) / 2) / depth),
    }
    for depth, (plain, skipping) in fields.items()
]
write_table(rows, options.output / "skip_connections.csv")

# %%
figure, axes = new_figure(8, 3.7, 1, 3, width_ratios=(1, 1, 1.25))
deepest = DEPTHS[-1]
for panel, field, name in zip(axes.flat, fields[deepest], ("plain", "skips"), strict=False):
    title = f"{deepest} layers, {'without' if name == 'plain' else 'with'} skips"
    image = draw_map(
        panel, field.values, title, f"threshold size {rows[-1][name]:.1f} ± {rows[-1][f'{name}_se']:.1f} px"
    )
figure.colorbar(image, ax=axes[0, 1], label="mean |dy/dx| over its max. (linear)")
draw_curves(axes[0, 2], rows, "depth", {"plain": "without skips", "skips": "with skips"})
axes[0, 2].set(xlabel="layers", ylabel="threshold size [px]", ylim=(0, None), xticks=DEPTHS)
axes[0, 2].legend(frameon=False, loc="upper left")
caption = (
    "Chains of 3 x 3 convolutions with random weights and ReLU, with and without a skip connection around "
    f"every layer; panels are the theoretical receptive field, {2 * deepest + 1} x {2 * deepest + 1}. Mean over "
    f"{DRAWS} draws of weights and inputs; bars and ± are standard errors over draws."
)
save_figure(figure, options.output / "skip_connections.png", caption)
