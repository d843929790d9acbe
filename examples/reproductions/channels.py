"""
Which channels? How much the choice changes the field.

The default unit is the sum over all channels of a layer, in which channels of opposite sign cancel, and which depends
on each channel's arbitrary sign. Measured here beside it: the single channel that is largest at the unit (one of fixed
number may be dead: channel 0 of ResNet-50's layer3 is), the sum with random signs for every sample (its mean square is
the sum over channels of squares), and the mean over channels one by one, for which every image is measured 4 times
(--quick: 2), each time in a channel drawn at random.

Networks: the four stages of ResNet-50 with random weights, and four blocks of EfficientNet-Lite0 trained on ImageNet.
Inputs: a crop of 224 x 224 of each of six photographs (--quick: of 64 x 64, without ResNet-50); errors are standard
errors over photographs, and a 95 % interval is 2.57 of them to both sides.

Published: nothing.
"""

# %%
import torch
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
    write_table,
)
from published import efficientnet_lite0, photograph_of, photographs, random_network
from torch import Tensor, nn

from captum_erf import EffectiveReceptiveField, ERFMap

options = arguments(__doc__, "channels")
CROPS, DRAWS, SIZE = (1, 2, 64) if options.quick else (1, 4, 224)
NETWORKS = {"ResNet-50, random": [f"layer{stage}" for stage in (1, 2, 3, 4)]}
NETWORKS |= {"EfficientNet-Lite0, trained": [f"_blocks.{number}" for number in (2, 4, 10, 15)]}
SHOWN = {"50 %": "diameter_50", "90 %": "diameter_90"}
if options.quick:
    del NETWORKS["ResNet-50, random"]


def largest(values: Tensor) -> Tensor:
    """The channel of the unit's values ``(N, C)`` that is largest in the sample."""
    return values.amax(1)


def one_by_one(values: Tensor) -> Tensor:
    """One channel of the unit's values ``(N, C)``, drawn for every sample."""
    samples, channels = values.shape
    return values[torch.arange(samples), torch.randint(channels, (samples,))]


CHOICES = {"sum": None, "random signs": "random", "one by one": one_by_one, "largest": largest}


# %%
def measure(name: str, model: nn.Module) -> dict[tuple[str, str, str], ERFMap]:
    """The field of every layer under every choice."""
    erf, inputs = EffectiveReceptiveField(model, NETWORKS[name]), list(photographs(CROPS, SIZE))
    return {
        (name, field.layer, choice): field
        for choice, channel in CHOICES.items()
        for field in erf.sweep(
            inputs * (DRAWS if choice == "one by one" else 1), channel=channel, get_groups=photograph_of
        )
    }


models = {"ResNet-50, random": lambda: random_network("resnet50")}
models |= {"EfficientNet-Lite0, trained": lambda: efficientnet_lite0(trained=True)}
fields = {key: field for name in NETWORKS for key, field in measure(name, models[name]()).items()}
rows = [
    {
        "network": name,
        "layer": layer,
        "channels": choice,
        "samples": field.num_samples,
        "trf": field.theoretical.size[0],
        **measured(field, "diameter_50", "diameter_90", "effective_pixels"),
    }
    for (name, layer, choice), field in sorted(fields.items(), key=lambda item: list(NETWORKS).index(item[0][0]))
]
write_table(rows, options.output / "channels.csv")

# %%
figure, axes = new_figure(
    8, 2.2 + 2.9 * len(NETWORKS), 1 + len(NETWORKS), 4, height_ratios=[1] + [1.15] * len(NETWORKS)
)
shown = list(NETWORKS)[-1]
for panel, choice in zip(axes[0], CHOICES, strict=True):
    row = next(row for row in rows[::-1] if (row["network"], row["channels"]) == (shown, choice))
    sizes = (f"{share}: {row[key]:.1f} ± {row[f'{key}_se']:.1f} px" for share, key in SHOWN.items())
    draw_map(panel, fields[shown, row["layer"], choice].values, choice, "\n".join(sizes), 0.5)
colour_bar(axes[0, 3], 0.5)
grid = axes[0, 0].get_gridspec()
for line, (name, layers) in enumerate(NETWORKS.items(), start=1):
    for panel in axes[line]:
        panel.remove()
    for half, (share, key) in enumerate(SHOWN.items()):
        panel = figure.add_subplot(grid[line, 2 * half : 2 * half + 2])
        for number, (choice, colour, marker) in enumerate(zip(CHOICES, COLOURS, MARKERS, strict=False)):
            its = [row for row in rows if (row["network"], row["channels"]) == (name, choice)]
            across = [place + 0.15 * (number - 1.5) for place in range(len(layers))]
            draw_curve(panel, across, its, key, color=colour, marker=marker, ls="", label=choice)
        panel.set(title=name, ylabel=f"box with {share} [px]", ylim=(0, None))
        panel.set_xticks(
            range(len(layers)), [layer.removeprefix("_blocks.").replace("layer", "stage ") for layer in layers]
        )
        if name.startswith("Eff"):
            panel.set_xlabel("block")
        panel.margins(x=0.1)
panel.legend(frameon=False, fontsize="small", loc="lower right")
caption = (
    f"Effective receptive field of the centre unit under four choices of channels. Above: {shown}, last block, each "
    "map over its own maximum on a square-root scale, with the sides of the boxes that hold 50 and 90 %; below: these "
    f"sides for all layers. A crop of {SIZE} x {SIZE} of each of six photographs, for 'one by one' each with "
    f"{DRAWS} channels drawn at random; bars and ± are standard errors over photographs."
)
save_figure(figure, options.output / "channels.png", caption)
