"""
How do the effective receptive fields of units near the border differ from the centre unit's?

A reviewer of Luo et al. (NeurIPS 2016) asked; the paper measures the centre unit alone. Here all units of an 8 x 8 grid
are measured in one sweep: size (the box around the unit that holds half of the map, and effective pixels, which need
no centre), shape (R^2 of the Gaussian and the best family), shift (of the Gaussian's centre from the unit's, in px
downwards), and how much of the theoretical field is outside the image. The first table has the unit in the middle of
the upper edge and those on the diagonal from the corner to the centre; the second, the heat maps, the side of the box
of all units.

Networks, random weights, all with stride 16 on 128 x 128: a plain CNN (VGG-11 with batch norm after its last
convolution), ResNet-18's layer3, and a small vision transformer (patch 16, 6 layers, 128 channels, 4 heads).
Inputs: 20 crops of one photograph (--quick: 4 of 64 x 64, a 4 x 4 grid).

Published: nothing. Measured: the border cuts the field off, and in the plain CNN pushes it inwards. 69 and 75 % of the
corner unit's theoretical field are outside (16 and 63 % of the centre unit's), and about a third of the centre unit's
effective pixels is left: 3,537 ± 30 of 9,585 ± 34 in the plain CNN, 2,915 ± 47 of 9,379 ± 94 in ResNet-18. The fitted
Gaussian of the plain CNN's corner unit lies 13.4 ± 0.7 px further inside than the unit, that of the next unit on the
diagonal 3.3 ± 0.7 px, that of the others where the unit is; ResNet-18's corner unit weighs the corner itself most
(-10 ± 3 px). The box around the unit that holds half of the map is as wide in the corner as in the centre (60 and 62
px; 65 and 61 px), but narrower one unit further in (46 ± 2 and 47 px). The shape is flatter than a Gaussian everywhere
in the plain CNN (beta 2.2 to 2.5, R^2 of a Gaussian 0.97 to 0.98), sharper in ResNet-18 (beta 1.6 in the corner, 1.2 in
the centre). A random transformer sees its own patch, wherever that lies: 16 px, the patch's side.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
import numpy as np
import torch
from common import arguments, diameter, draw_map, new_figure, save_figure, shape_of, with_error, write_table
from matplotlib import colormaps
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import VisionTransformer, resnet18, vgg11_bn

from captum_erf import EffectiveReceptiveField, ERFMap, tokens
from captum_erf.images import photograph

options = arguments(__doc__, "border_units")
IMAGES, SIZE = (4, 64) if options.quick else (20, 128)
GRID = SIZE // 16
half = diameter(0.5)
ALL = [(row, column) for row in range(GRID) for column in range(GRID)]
DIAGONAL = [(place, place) for place in range(GRID // 2 + 1)]
CORNER, *_, CENTER = DIAGONAL
EDGE = (0, GRID // 2)


def transformer() -> nn.Module:
    model = VisionTransformer(SIZE, 16, num_layers=6, num_heads=4, hidden_dim=128, mlp_dim=256)
    return nn.Sequential(model)


def settings() -> dict[str, tuple[nn.Module, str, object]]:
    torch.manual_seed(0)
    return {
        "plain CNN": (vgg11_bn(weights=None), "features.25", "channels_first"),
        "ResNet-18": (resnet18(weights=None), "layer3", "channels_first"),
        "ViT": (transformer(), "0.encoder.layers.encoder_layer_5", tokens(prefix=1)),
    }


# %%
def measure(model: nn.Module, layer: str, layout: object) -> dict[tuple[int, ...], ERFMap]:
    erf = EffectiveReceptiveField(model, layer, layout=layout)
    loader = DataLoader(photograph(IMAGES, size=SIZE), batch_size=10)
    fields = erf.sweep(loader, positions=ALL, channel="random", show_progress=True)
    return {field.position: field for field in fields}


def shift(field: ERFMap) -> float:
    return field.gaussian_fit().mean[0] - field.center[0]


def numbers(network: str, field: ERFMap) -> dict[str, object]:
    trf = field.theoretical
    return {
        "network": network,
        "unit": ",".join(map(str, field.position)),
        "trf": None if trf.is_global else trf.size[0],
        "outside": trf.outside,
        **with_error("diameter_50", field.estimate(half)),
        **with_error("effective_pixels", field.estimate(ERFMap.effective_pixels)),
        **with_error("shift", field.estimate(shift)),
        "r2": field.gaussian_fit().r2,
        **shape_of(field),
    }


fields = {network: measure(*setting) for network, setting in settings().items()}
rows = [numbers(network, found[unit]) for network, found in fields.items() for unit in (EDGE, *DIAGONAL)]
write_table(rows, options.output / "border_units.csv")

sizes = {
    network: np.array([half(found[unit]) for unit in ALL]).reshape(GRID, GRID) for network, found in fields.items()
}
maps = [
    {"network": network, "row": row} | {f"column_{column}": float(side) for column, side in enumerate(sides)}
    for network, grid in sizes.items()
    for row, sides in enumerate(grid)
]
write_table(maps, options.output / "diameters.csv")

# %%
figure, axes = new_figure(8.5, 9.2, 3, 3)
convolutional = [sizes["plain CNN"], sizes["ResNet-18"]]
low, high = np.min(convolutional), np.max(convolutional)
palette = colormaps["viridis"].with_extremes(under="0.8")
for line, (network, found) in zip(axes, fields.items(), strict=True):
    for panel, (place, unit) in zip(line, {"corner": CORNER, "centre": CENTER}.items(), strict=False):
        shown = draw_map(panel, found[unit].values, f"{network}, {place} unit", f"50 % in {half(found[unit]):.0f} px")
        panel.plot(found[unit].center[1], found[unit].center[0], "+", color="white")
    heat = line[2].imshow(sizes[network], cmap=palette, vmin=low, vmax=high)
    ends = " to ".join(dict.fromkeys(f"{side:.0f}" for side in (sizes[network].min(), sizes[network].max())))
    line[2].set(xlabel="column of the unit", ylabel="row of the unit")
    line[2].set_title(f"{network}, all units: {ends} px", fontsize="medium")
    figure.colorbar(shown, ax=line[1], label="mean |dy/dx| over its max.", shrink=0.75)
    figure.colorbar(heat, ax=line[2], label=f"box with 50 % [px], from {low:.0f} px", shrink=0.75, extend="min")
caption = (
    f"Effective receptive fields of a corner and the centre unit (cross: unit centre), and the side of the box with "
    f"50 % of all {GRID} x {GRID} units; the scale begins at the convolutional networks' smallest, {low:.0f} px, grey "
    f"is below it. Random weights; channels summed with random signs; mean over {IMAGES} crops of {SIZE} x {SIZE}."
)
save_figure(figure, options.output / "border_units.png", caption)
