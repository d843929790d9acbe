"""
How far does one cell of a Grad-CAM picture really look? The effective receptive field inside a Captum workflow.

One image and one model: Grad-CAM of a layer (upsampled to the image, as it is usually shown), integrated gradients of
the input, and the effective receptive field of the layer's unit under the largest Grad-CAM cell, plain and through
Captum's ``NoiseTunnel``. An upsampled Grad-CAM cell is drawn as wide as the layer's stride; the field says which part
of the image the value in that cell comes from.

Model: ResNet-18, random weights or, with --weights DEFAULT, trained ones where they can be downloaded. Image: the
photograph that matplotlib ships, 224 x 224; fields are means over 32 crops of it (--quick: 4 crops, 96 x 96).

Published: nothing; Selvaraju et al. (ICCV 2017) upsample the cells. Measured with random weights: a cell of layer3 is
drawn 16 px wide; half of what its unit weighs lies in 61 px, 90 % in 115 px, 7 cells. In layer2 it is 61 px for cells
of 8 px, in layer4 189 px for 32 px. And the unit looks at the cell's upper left corner, not its middle: with strides
and symmetric padding the units' centres are at multiples of the stride.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, NoiseTunnel, visualization
from common import arguments, diameter, new_figure, save_figure, torchvision_network, with_error, write_table
from matplotlib.cm import ScalarMappable
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.utils.data import DataLoader

from captum_erf import EffectiveReceptiveField
from captum_erf.images import photograph

options = arguments(__doc__, "captum_workflow", weights="torchvision's name, such as DEFAULT, or a file")
CROPS, SIZE, DRAWS = (4, 96, 2) if options.quick else (32, 224, 8)
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
LAYERS = ["layer2", "layer3", "layer4"]

model = torchvision_network("resnet18", options.weights)
image = photograph(1, size=SIZE)[0][None]
target = int(model(image).argmax())

# %% Attributions of one image
cams = {name: LayerGradCam(model, model.get_submodule(name)).attribute(image, target) for name in LAYERS}
gradients = IntegratedGradients(model).attribute(image, target=target, n_steps=20)


def hottest(cam: Tensor) -> tuple[int, int]:
    row, column = np.unravel_index(int(cam[0, 0].argmax()), cam.shape[2:])
    return int(row), int(column)


units = {name: hottest(cam) for name, cam in cams.items()}
layer = LAYERS[1]
erf = EffectiveReceptiveField(model, layer)
sensitivity = erf.attribute(image, position=units[layer])
smoothed = NoiseTunnel(erf).attribute(image, nt_type="smoothgrad", nt_samples=DRAWS, stdevs=0.2, position=units[layer])

# %% How far a cell looks, over many crops
rows = []
for name, unit in units.items():
    loader = DataLoader(photograph(CROPS, size=SIZE), batch_size=4)
    field = EffectiveReceptiveField(model, name).aggregate(loader, position=unit)
    rows.append(
        {
            "layer": name,
            "unit": f"{unit[0]},{unit[1]}",
            "cell": field.theoretical.stride[0],
            **with_error("diameter_50", field.estimate(diameter(0.5))),
            **with_error("diameter_90", field.estimate(diameter(0.9))),
            "trf": field.theoretical.size[0],
            "cells_wide": diameter(0.9)(field) / field.theoretical.stride[0],
        }
    )
    if name == layer:
        measured = field
write_table(rows, options.output / "captum_workflow.csv")


# %% Captum's own pictures: one attribution in several ways
def drawn(attribution: Tensor) -> np.ndarray:
    """Sum over channels as the float32 array ``(H, W, 1)`` that Captum draws."""
    return attribution[0].sum(0).detach().float().numpy()[..., None]


pixels = (image[0].movedim(0, -1) * STD + MEAN).clamp(0, 1).numpy()
figure, _ = visualization.visualize_image_attr_multiple(
    drawn(sensitivity),
    pixels,
    ["original_image", "heat_map", "blended_heat_map"],
    ["all", "positive", "positive"],
    ["the image", f"|dy/dx| of unit {units[layer]} of {layer}", "both"],
    show_colorbar=True,
    fig_size=(9, 3.6),
    use_pyplot=False,
    cmap="viridis",
)
for bar in figure.axes[3:]:
    bar.set_xlabel("share of the maximum,\nthe highest 2 % of the sum cut off", fontsize="small")
figure.savefig(options.output / "captum_multiple.png", dpi=150, bbox_inches="tight")

# %% ... and all attributions side by side
upsampled = LayerAttribution.interpolate(cams[layer].relu(), (SIZE, SIZE), "nearest")
pictures = {
    f"Grad-CAM of {layer}": (upsampled, "blended_heat_map"),
    "integrated gradients": (gradients.abs(), "heat_map"),
    f"|dy/dx| of unit {units[layer]}": (sensitivity, "heat_map"),
    "through NoiseTunnel": (smoothed, "heat_map"),
    f"mean over {CROPS} crops": (torch.from_numpy(measured.values)[None, None], "heat_map"),
}
figure, axes = new_figure(11, 2.7, 1, len(pictures))
step = measured.theoretical.stride[0]
top, left = (step * index - 0.5 for index in units[layer])
center, half, most = measured.center, *(diameter(share)(measured) for share in (0.5, 0.9))
for panel, (title, (attribution, method)) in zip(axes[0], pictures.items(), strict=True):
    visualization.visualize_image_attr(
        drawn(attribution), pixels, method, "positive", (figure, panel), cmap="viridis", use_pyplot=False
    )
    panel.set_title(title, fontsize="medium")
    panel.add_patch(Rectangle((left, top), step, step, fill=False, color="white", lw=1.5))
    for side, style in ((half, "-"), (most, "--")):
        corner = (center[1] - side / 2, center[0] - side / 2)
        panel.add_patch(Rectangle(corner, side, side, fill=False, color="#ff8fab", ls=style, lw=1.2))
    panel.set(xlim=(-0.5, SIZE - 0.5), ylim=(SIZE - 0.5, -0.5))
figure.colorbar(ScalarMappable(cmap="viridis"), ax=axes[0, 1:], label="share of the maximum*", shrink=0.85)
weights = f"weights {options.weights}" if options.weights else "random weights"
caption = (
    f"ResNet-18, {weights}, one photograph of {SIZE} x {SIZE}. White: the largest cell of Grad-CAM, {step} px; pink: "
    f"the boxes that hold 50 % ({half:.0f} px) and 90 % ({most:.0f} px, dashed) of what the unit in it weighs, from "
    f"the mean over {CROPS} crops. Drawn by Captum; *of the maps without the photograph, the highest 2 % of the sum "
    "being cut off."
)
save_figure(figure, options.output / "captum_workflow.png", caption)
