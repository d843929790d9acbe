"""
How does the effective receptive field grow from layer to layer of a real network?

All convolutions of ResNet-18 and ResNet-50 in one sweep each, as in figures 2 to 4 of the reproduction "et22" of Luo
et al. (NeurIPS 2016), which shows contact sheets of random and of trained networks. (Its comparison holds two trained
copies by mistake: the network that should be random loads the same weights.) Here the weights are random with a fixed
seed and, with --weights DEFAULT, beside them the trained ones, where they can be downloaded; that was not so here.

Inputs: 20 crops, 224 x 224, of one photograph (--quick: 4 of 64 x 64, ResNet-18 alone). The unit is the centre one, all
its channels summed.

Published: no numbers. Measured with random weights: the box with half of the field grows from 7 px to 121 px
(ResNet-18's last convolution, theoretical field 435) and 115 px (ResNet-50's, 427), and its share of the theoretical
field falls: ERF/TRF at 95 % from 1.00 to 0.49 and 0.48, with no step up of more than 0.02 on the way. In a bottleneck
only the 3 x 3 convolution widens it, and the 1 x 1 convolution after the next shortcut sees less, as the shortcut
brings the narrower field of earlier layers.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
import re

from common import (
    MARKERS,
    PALETTE,
    arguments,
    diameter,
    new_figure,
    save_figure,
    torchvision_network,
    with_error,
    write_table,
)
from torch import nn
from torch.utils.data import DataLoader

from captum_erf import EffectiveReceptiveField, ERFMap, visualization
from captum_erf.images import photograph

options = arguments(__doc__, "all_layers", weights="torchvision's name, such as DEFAULT")
IMAGES, SIZE = (4, 64) if options.quick else (20, 224)
NETWORKS = ["resnet18"] if options.quick else ["resnet18", "resnet50"]
WEIGHTS = ["random"] + (["trained"] if options.weights else [])


# %%
def measure(model: nn.Module) -> list[ERFMap]:
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    loader = DataLoader(photograph(IMAGES, size=SIZE), batch_size=4)
    return EffectiveReceptiveField(model, layers).sweep(loader, show_progress=True)


models = {
    (network, weights): torchvision_network(network, options.weights if weights == "trained" else None)
    for network in NETWORKS
    for weights in WEIGHTS
}
fields = {setting: measure(model) for setting, model in models.items()}
rows = [
    {
        "network": network,
        "weights": weights,
        "number": number,
        "layer": field.layer,
        "trf": field.theoretical.size[0],
        **with_error("diameter_50", field.estimate(diameter(0.5))),
        **with_error("diameter_90", field.estimate(diameter(0.9))),
        **with_error("diameter_95", field.estimate(diameter(0.95))),
        "erf_to_trf": diameter(0.95)(field) / max(field.theoretical.size),
    }
    for (network, weights), found in fields.items()
    for number, field in enumerate(found, start=1)
]
write_table(rows, options.output / "all_layers.csv")

# %% Contact sheets
for (network, weights), found in fields.items():
    file = options.output / f"{network}-{weights}.png"
    sheet = visualization.plot_layers(found)
    sheet.set_size_inches(11.1, 0.9 * sheet.get_figheight())
    for panel, field in zip(sheet.axes, found, strict=False):
        panel.set_title(re.sub(r"\.(conv|downsample)", r"\n\1", field.layer), fontsize=9)
    sheet.suptitle(f"Effective receptive fields of all convolutions of {network}, {weights} weights")
    sheet.savefig(file)
    print(f"Wrote {file}\n")

# %%
figure, axes = new_figure(8, 3.6, 1, len(NETWORKS))
for panel, network in zip(axes[0], NETWORKS, strict=True):
    for weights, colour, markers in zip(WEIGHTS, PALETTE, (MARKERS[:2], MARKERS[2:]), strict=False):
        chosen = [
            row
            for row in rows
            if (row["network"], row["weights"]) == (network, weights) and "downsample" not in row["layer"]
        ]
        for (share, line), marker in zip((("diameter_50", "-"), ("diameter_90", "--")), markers, strict=True):
            numbers, sizes = [row["number"] for row in chosen], [row[share] for row in chosen]
            errors = [row[f"{share}_se"] for row in chosen]
            label = f"{share[-2:]} %, {weights} weights"
            panel.errorbar(
                numbers, sizes, errors, fmt=marker + line, color=colour, markersize=3, capsize=2, label=label
            )
    panel.plot(numbers, [row["trf"] for row in chosen], color="0.6", ls=":", label="theoretical field")
    panel.set(title=network, xlabel="convolution, input first", ylabel="side of the box [px]", ylim=(0, SIZE))
    panel.legend(frameon=False, fontsize="small", loc="upper left")
caption = (
    "Side of the box around the centre unit that holds 50 and 90 % of the effective receptive field, of every "
    f"convolution outside the shortcuts. Mean over {IMAGES} crops of {SIZE} x {SIZE}; bars: standard errors over them."
)
save_figure(figure, options.output / "all_layers.png", caption)
