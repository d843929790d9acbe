"""
Which channels? How much the choice changes the diameter of ResNet's stages.

The default unit is the sum over all channels of a layer, in which channels of opposite sign cancel, and which depends
on each channel's arbitrary sign. Measured here beside it: the single channel that is largest at the unit (one of fixed
number may be dead: channel 0 of ResNet-50's layer3 is, in all the crops), the sum with random signs for every sample
(its mean square is the sum over channels of squares), and the mean over channels one by one, for which every image is
measured 16 times (--quick: 4), each time in a channel drawn at random.

Networks: the four stages of ResNet-50 and layer4 of ResNet-18, with random weights or, with --weights DEFAULT, trained
ones where they can be downloaded. Inputs: 20 crops of one photograph (--quick: 10, 64 x 64, ResNet-18 alone).

A prototype of this package gave a 50 % box of 109 px for the sum and 115 px channel by channel on ResNet-18's layer4,
random weights. Measured there: 107 px for the sum against 113 px one by one. On ResNet-50's stages, sum against one
by one: 15 and 15, 31 ± 3 and 33, 69 and 77, 99 and 111 px; random signs give what one by one gives (15, 33, 77,
109 ± 2 px), at the price of the sum.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
import torch
from common import (
    MARKERS,
    PALETTE,
    arguments,
    diameter,
    draw_map,
    new_figure,
    save_figure,
    torchvision_network,
    with_error,
    write_table,
)
from torch import Tensor
from torch.utils.data import DataLoader

from captum_erf import EffectiveReceptiveField, ERFMap
from captum_erf.images import photograph

options = arguments(__doc__, "channels", weights="torchvision's name, such as DEFAULT")
IMAGES, DRAWS, SIZE = (10, 4, 64) if options.quick else (20, 16, 224)
UNITS = {"resnet18": ["layer4"]} if options.quick else {"resnet50": [f"layer{n}" for n in (1, 2, 3, 4)]}
UNITS |= {"resnet18": ["layer4"]}


def largest(values: Tensor) -> Tensor:
    """The channel of the unit's values ``(N, C)`` that is largest in the sample."""
    return values.amax(1)


def one_by_one(values: Tensor) -> Tensor:
    """One channel of the unit's values ``(N, C)``, drawn for every sample."""
    samples, channels = values.shape
    return values[torch.arange(samples), torch.randint(channels, (samples,))]


CHOICES = {"largest": largest, "sum": None, "random signs": "random", "one by one": one_by_one}
inputs = list(DataLoader(photograph(IMAGES, size=SIZE), batch_size=10))


# %%
def measure(network: str) -> dict[tuple[str, str, str], ERFMap]:
    """The field of every layer under every choice; groups of samples are groups of images."""
    erf = EffectiveReceptiveField(torchvision_network(network, options.weights), UNITS[network])
    return {
        (network, field.layer, name): field
        for name, channel in CHOICES.items()
        for field in erf.sweep(inputs * DRAWS if name == "one by one" else inputs, channel=channel)
    }


fields = {key: field for network in UNITS for key, field in measure(network).items()}
order = [(network, layer, name) for network, layers in UNITS.items() for layer in layers for name in CHOICES]
rows = [
    {
        "network": network,
        "layer": layer,
        "channels": name,
        "samples": fields[network, layer, name].num_samples,
        "trf": fields[network, layer, name].theoretical.size[0],
        **with_error("diameter_50", fields[network, layer, name].estimate(diameter(0.5))),
        **with_error("diameter_90", fields[network, layer, name].estimate(diameter(0.9))),
        **with_error("effective_pixels", fields[network, layer, name].estimate(ERFMap.effective_pixels)),
    }
    for network, layer, name in order
]
write_table(rows, options.output / "channels.csv")

# %%
figure, axes = new_figure(9.5, 3.6, 1, 5, width_ratios=(1, 1, 1, 1, 1.7))
shown = rows[-len(CHOICES) :]
for panel, row in zip(axes[0], shown, strict=False):
    size = f"50 %: {row['diameter_50']:.0f} ± {row['diameter_50_se']:.1f} px"
    field = fields[row["network"], row["layer"], row["channels"]]
    image = draw_map(panel, field.values, row["channels"], size)
figure.colorbar(image, ax=axes[0, 3], label="mean |dy/dx| over its max.", shrink=0.6)
places = list(dict.fromkeys((row["network"], row["layer"]) for row in rows))
for number, (name, colour, marker) in enumerate(zip(CHOICES, PALETTE, MARKERS, strict=True)):
    chosen = [row for row in rows if row["channels"] == name]
    across = [place + 0.15 * (number - 1.5) for place in range(len(places))]
    sizes, errors = ([row[column] for row in chosen] for column in ("diameter_50", "diameter_50_se"))
    axes[0, 4].errorbar(across, sizes, errors, color=colour, ls="", marker=marker, markersize=4, capsize=2, label=name)
labels = [f"{network[6:]}:{layer[5:]}" for network, layer in places]
axes[0, 4].set(ylabel="side of the box with 50 % [px]", xlabel="ResNet: stage", ylim=(0, None))
axes[0, 4].set_xticks(range(len(places)), labels)
axes[0, 4].legend(frameon=False, fontsize="small", loc="lower right")
weights = f"weights {options.weights}" if options.weights else "random weights"
caption = (
    f"Left: layer4 of ResNet-18 under four choices of channels; right: all stages. {weights.capitalize()}, {IMAGES} "
    f"crops of {SIZE} x {SIZE} of one photograph, for 'one by one' each with {DRAWS} channels drawn at random; bars "
    "and ± are standard errors over crops."
)
save_figure(figure, options.output / "channels.png", caption)
