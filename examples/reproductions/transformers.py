"""
Do transformers see further than convolutional networks?

Fields of the centre unit of the last stage, channels summed with random signs, on the same crops: ResNet-50,
ConvNeXt-T, ViT-B/16 and Swin-T with random weights, and EfficientNet-Lite0 with random weights and trained on ImageNet,
which two small packages hold. Random weights show the architecture alone: ConvNeXt's and ViT's residual branches start
small, so that little but the shortest path is seen, and what attention learns to see is not in it. What random networks
see says nothing about trained ones.

Two tables. The first has sizes that do not depend on the gradients' scale. The second is the table of Ding et al.
(RepLKNet, CVPR 2022, table 8) through ``protocols.REPLKNET``: the share of the input that a square must cover to hold
20, 30, 50 and 99 % of log10(A + 1), A being the rectified gradient; ``free`` columns are the same of A itself. The
logarithm is not scale-free: had a network's gradients another scale, its columns would be others (``large20`` is the
first one if they were 1e4 times as large), so that they compare one network with itself at most.

Inputs: a crop of 224 x 224 of each of six photographs for the first table, one of 384 x 384 for the second (--quick:
112 x 112 and 128 x 128, without Swin-T, the slowest); ViT's positions are made for the size. Errors
are standard errors over photographs, and a 95 % interval is 2.57 of them to both sides.

Published by Ding et al., trained on ImageNet, 1024 x 1024: ResNet-101 0.9, 1.5, 3.2 and 22.4 %, RepLKNet-31 16.3, 24.7,
43.2 and 98.6 %. Neither is measured here, and trained networks are no measure for random ones, so these numbers stand
here and not in the figure.
"""

# %%
from collections.abc import Callable
from typing import Any

from helpers import COLOURS, MARKERS, arguments, colour_bar, draw_map, measured, new_figure, save_figure, write_table
from published import efficientnet_lite0, photograph_of, photographs, random_network
from torch import nn

from captum_erf import EffectiveReceptiveField, channels_last, protocols, tokens

options = arguments(__doc__, "transformers")
CROPS, SIZE, LARGE = (1, 112, 128) if options.quick else (1, 224, 384)
Setting = tuple[Callable[[int], nn.Module], str, Any]
NETWORKS: dict[str, Setting] = {
    "ResNet-50": (lambda size: random_network("resnet50"), "layer4", "channels_first"),
    "ConvNeXt-T": (lambda size: random_network("convnext_tiny"), "features.7", "channels_first"),
    "ViT-B/16": (
        lambda size: random_network("vit_b_16", image_size=size),
        "encoder.layers.encoder_layer_11",
        tokens(prefix=1),
    ),
    "Swin-T": (lambda size: random_network("swin_t"), "features.7", channels_last),
    "EfficientNet-Lite0": (lambda size: efficientnet_lite0(trained=False), "_blocks.15", "channels_first"),
    "EfficientNet-Lite0, trained": (lambda size: efficientnet_lite0(trained=True), "_blocks.15", "channels_first"),
}
SHOWN = {"50 %": "diameter_50", "90 %": "diameter_90"}
SHARES = (20, 30, 50, 99)
if options.quick:
    del NETWORKS["Swin-T"]


def make(setting: Setting, size: int) -> EffectiveReceptiveField:
    network, layer, layout = setting
    return EffectiveReceptiveField(network(size), layer, layout=layout)


# %% Sizes that do not depend on the scale
fields = {
    name: make(setting, SIZE).aggregate(photographs(CROPS, SIZE), channel="random", get_groups=photograph_of)
    for name, setting in NETWORKS.items()
}
rows = [
    {
        "network": name,
        "grid": "x".join(map(str, field.grid)),
        "trf": "global" if field.theoretical.is_global else field.theoretical.size[0],
        **measured(field, "diameter_50", "diameter_90", "tail_ratio", "equivalent_width", "effective_pixels"),
    }
    for name, field in fields.items()
]
write_table(rows, options.output / "transformers.csv")

# %% RepLKNet's table
squares = []
for name, setting in NETWORKS.items():
    field = protocols.REPLKNET.aggregate(make(setting, LARGE), photographs(1, LARGE, batch_size=1))
    report = protocols.REPLKNET.report(field)
    free = {f"free{100 * row.share:.0f}": row.scale_free_area for row in report.rows}
    logarithmic = {f"t{100 * row.share:.0f}": row.area for row in report.rows}
    larger = {"large20": report.area_of_larger_gradients}
    squares.append({"network": name, "samples": report.num_samples} | free | logarithmic | larger)
write_table(squares, options.output / "replknet.csv")

# %%
figure, axes = new_figure(8, 8.2, 3, 3, height_ratios=(1, 1, 1.2))
for panel in axes[:2].flat[len(rows) :]:
    panel.set_axis_off()
for panel, row in zip(axes.flat, rows, strict=False):
    sizes = (f"{name}: {row[key]:.1f} ± {row[f'{key}_se']:.1f} px" for name, key in SHOWN.items())
    draw_map(panel, fields[row["network"]].values, row["network"], "\n".join(sizes), 0.5)
colour_bar(axes[0, 2], 0.5)
grid = axes[2, 0].get_gridspec()
for panel in axes[2]:
    panel.remove()
panel = figure.add_subplot(grid[2, :])
for row, colour, marker in zip(squares, (*COLOURS, COLOURS[4]), (*MARKERS, "x"), strict=False):
    shares = [row[f"free{share}"] for share in SHARES]
    style = "--" if "trained" in row["network"] else "-"
    panel.plot(range(len(SHARES)), shares, style, color=colour, marker=marker, markersize=5, label=row["network"])
panel.set_xticks(range(len(SHARES)), [f"{share} %" for share in SHARES])
panel.set(yscale="log", xlabel="share of A held", ylabel="square, share of input", xlim=(-0.2, 4.6), ylim=(6e-4, 1.6))
panel.set_yticks((0.001, 0.01, 0.1, 1), ("0.1 %", "1 %", "10 %", "100 %"))
panel.minorticks_off()
panel.legend(frameon=False, fontsize="small", loc="center right")
caption = (
    "Effective receptive fields of the last stage's centre unit, random weights unless trained is said. Maps: mean "
    f"|dy/dx| over a crop of {SIZE} x {SIZE} of each of six photographs, each over its own maximum, square-root "
    "scale, with the sides of the boxes that hold 50 and 90 %. Below: the square that holds a share of Ding et al.'s "
    f"rectified gradients A, over an input of {LARGE} x {LARGE}; this is scale-free. Their own table, of log10(A + 1), "
    "is not, and is of trained networks, so it is not drawn here. Random weights show the architecture alone."
)
save_figure(figure, options.output / "transformers.png", caption)
