"""
How much of an effective receptive field does the architecture alone explain?

``theory.random_weights`` gives the shape of the field that a network's architecture has with random weights, without
data: weights count as their mean squares over each layer (Luo et al., NeurIPS 2016, section 2.2, for any network).
``field.share_of_theory`` is the share of a measured field, R^2 with one free scale, that this shape explains, corrected
for the noise of few samples. What is left is due to the particular weights and images: to training, where there was
any.

Networks: ResNet-18 with random weights, and EfficientNet-Lite0 with random weights and trained on ImageNet; the output
of each of their blocks, at the centre unit, all channels summed with random signs. Inputs: 4 crops of 224 x 224 of each
of six photographs (--quick: 1 of 96 x 96); errors are standard errors over photographs, and a 95 % interval is 2.57 of
them to both sides. One draw of random weights each.

Published: nothing.
"""

# %%
from helpers import (
    COLOURS,
    MARKERS,
    arguments,
    colour_bar,
    draw_curve,
    draw_map,
    measured,
    new_figure,
    save_figure,
    with_error,
    write_table,
)
from published import efficientnet_lite0, photograph_of, photographs, random_network
from torch import nn

from captum_erf import EffectiveReceptiveField, ERFMap, theory

options = arguments(__doc__, "what_architecture_explains")
CROPS, SIZE = (1, 96) if options.quick else (4, 224)
EVERY = 5 if options.quick else 1
RESNET = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
LITE = [f"_blocks.{number}" for number in range(16)]
NETWORKS = {
    "ResNet-18, random": (random_network("resnet18"), RESNET),
    "EfficientNet-Lite0, random": (efficientnet_lite0(trained=False), LITE),
    "EfficientNet-Lite0, trained": (efficientnet_lite0(trained=True), LITE),
}


# %%
def measure(model: nn.Module, layers: list[str]) -> list[ERFMap]:
    erf = EffectiveReceptiveField(model, layers)
    return erf.sweep(photographs(CROPS, SIZE), get_groups=photograph_of, channel="random")


rows, last = [], {}
for name, (model, blocks) in NETWORKS.items():
    for number, field in list(enumerate(measure(model, blocks[EVERY - 1 :: EVERY]), start=1)):
        shape = theory.random_weights(model, field.layer, (3, SIZE, SIZE))
        rows.append(
            {
                "network": name,
                "block": EVERY * number,
                "trf": field.theoretical.size[0],
                **measured(field, "diameter_50", "diameter_90"),
                **with_error("explained", field.estimate(lambda field, shape=shape: field.share_of_theory(shape))),
            }
        )
        last[name] = field, shape**0.5
write_table(rows, options.output / "what_architecture_explains.csv")

# %%
figure, axes = new_figure(8, 7.6, 3, 3, height_ratios=(1, 1, 1.5))
for column, (name, (field, shape)) in enumerate(last.items()):
    row = [row for row in rows if row["network"] == name][-1]
    draw_map(axes[0, column], field.values, name, power=0.5)
    explained = f"explains {100 * row['explained']:.1f} %"
    draw_map(axes[1, column], shape, note=explained, power=0.5)
axes[0, 0].set_ylabel("measured,\nlast block")
axes[1, 0].set_ylabel("predicted by the\narchitecture")
for panel in axes[:2, 2]:
    colour_bar(panel, 0.5)
grid = axes[2, 0].get_gridspec()
for panel in axes[2]:
    panel.remove()
panel = figure.add_subplot(grid[2, :])
for (name, (_, blocks)), colour, marker in zip(NETWORKS.items(), COLOURS, MARKERS, strict=False):
    its = [row for row in rows if row["network"] == name]
    depths = [row["block"] / len(blocks) for row in its]
    draw_curve(panel, depths, its, "explained", color=colour, marker=marker, label=name)
panel.axhline(1, color="0.35", ls=":", lw=1)
panel.set(
    xlabel="depth: share of the network's blocks", ylabel="share explained (R²)", ylim=(None, 1.05), xlim=(0, 1.02)
)
panel.legend(frameon=False, fontsize="small", loc="center right", bbox_to_anchor=(1, 0.65))
caption = (
    "Share of the effective receptive field that the architecture explains: R² of the measured map against the shape "
    "that it has for random weights, without data. Maps: centre unit of the last block, each over its own maximum, "
    f"square-root scale. Mean over {CROPS} crops of {SIZE} x {SIZE} of each of six photographs, channels summed with "
    "random signs; bars are standard errors over photographs."
)
save_figure(figure, options.output / "what_architecture_explains.png", caption)
