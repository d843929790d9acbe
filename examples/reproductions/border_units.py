"""
How do the effective receptive fields of units near the border differ from the centre unit's?

A reviewer of Luo et al. (NeurIPS 2016) asked; the paper measures the centre unit alone. Here all units of an 8 x 8 grid
are measured in one sweep: size (the smallest box anywhere that holds half of the map, and effective pixels; neither
needs a centre), shift (how far the middle of that box lies from the unit's centre, in px downwards), and how much of
the theoretical field is outside the image. The table has the unit in the middle of the upper edge and those on the
diagonal from the corner to the centre.

Networks, random weights, all with stride 16 on 128 x 128: a plain CNN (VGG-11 with batch norm after its last
convolution), ResNet-18's layer3, and a small vision transformer (patch 16, 6 layers, 128 channels, 4 heads).
Inputs: a crop of each of six photographs (--quick: of 64 x 64, a 4 x 4 grid), channels summed with random signs;
errors are standard errors over photographs, and a 95 % interval is 2.57 of them to both sides.

Published: nothing.
"""

# %%
import numpy as np
import torch
from helpers import arguments, colour_bar, draw_map, measured, new_figure, save_figure, with_error, write_table
from matplotlib.patches import Rectangle
from published import photograph_of, photographs, random_network
from torch import nn
from torchvision.models import VisionTransformer

from captum_erf import EffectiveReceptiveField, ERFMap, tokens

options = arguments(__doc__, "border_units")
CROPS, SIZE = (1, 64) if options.quick else (1, 128)
GRID = SIZE // 16
ALL = [(row, column) for row in range(GRID) for column in range(GRID)]
DIAGONAL = [(place, place) for place in range(GRID // 2 + 1)]
EDGE = (0, GRID // 2)


def transformer() -> nn.Module:
    torch.manual_seed(0)
    model = VisionTransformer(SIZE, 16, num_layers=6, num_heads=4, hidden_dim=128, mlp_dim=256)
    return model.eval()


NETWORKS = {
    "plain CNN": (random_network("vgg11_bn"), "features.25", "channels_first"),
    "ResNet-18": (random_network("resnet18"), "layer3", "channels_first"),
    "ViT": (transformer(), "encoder.layers.encoder_layer_5", tokens(prefix=1)),
}


# %%
def measure(model: nn.Module, layer: str, layout: object) -> dict[tuple[int, ...], ERFMap]:
    erf = EffectiveReceptiveField(model, layer, layout=layout)
    fields = erf.sweep(photographs(CROPS, SIZE), positions=ALL, channel="random", get_groups=photograph_of)
    return {field.position: field for field in fields}


def half(field: ERFMap) -> float:
    return field.radius_mass().diameter(0.5)


def numbers(network: str, field: ERFMap) -> dict[str, object]:
    trf = field.theoretical
    return {
        "network": network,
        "unit": ",".join(map(str, field.position)),
        "trf": None if trf.is_global else trf.size[0],
        "outside": trf.outside,
        **measured(field, "diameter_50", "diameter_90", "effective_pixels"),
        **with_error("shift", (None, None) if trf.is_global else field.estimate(lambda field: field.displacement[0])),
    }


fields = {network: measure(*setting) for network, setting in NETWORKS.items()}
rows = [numbers(network, found[unit]) for network, found in fields.items() for unit in (EDGE, *DIAGONAL)]
write_table(rows, options.output / "border_units.csv")

# %%
figure, axes = new_figure(8, 8.8, 3, 3)
for line, (network, found) in zip(axes, fields.items(), strict=True):
    for panel, unit, place in zip(line, (DIAGONAL[0], DIAGONAL[-1]), ("corner", "centre"), strict=False):
        field = found[unit]
        draw_map(panel, field.values, f"{network}, {place} unit", f"50 % in {half(field):.0f} px", 0.5)
        (top, bottom), (left, right) = field.radius_mass().box(0.5)
        panel.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color="white", lw=1))
        panel.plot(field.center[1], field.center[0], "+", color="#7fd7ff", markersize=9, mew=1.5, clip_on=False)
    colour_bar(line[1], 0.5)
    sides = np.array([half(found[unit]) for unit in ALL]).reshape(GRID, GRID)
    heat = line[2].imshow(sides, cmap="viridis")
    line[2].set_title(f"{network}, all units", fontsize="medium")
    line[2].set_xlabel("box with 50 %, px", fontsize="small")
    line[2].set(xticks=[], yticks=[])
    figure.colorbar(heat, cax=line[2].inset_axes((1.05, 0, 0.06, 1))).ax.tick_params(labelsize="small")
caption = (
    f"Effective receptive fields of a corner and the centre unit in a grid of {GRID} x {GRID}, each map over its own "
    "maximum on a square-root scale (cross: the unit's centre; white: the smallest box with 50 % of the map), and the "
    f"side of that box for every unit. Random weights; channels summed with random signs; mean over a crop of "
    f"{SIZE} x {SIZE} of each of six photographs."
)
save_figure(figure, options.output / "border_units.png", caption)
