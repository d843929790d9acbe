"""
How far does one cell of a Grad-CAM picture really look? The effective receptive field in a Captum workflow.

    pip install -e ".[cli]" && python examples/quickstart.py [--output DIR]

Grad-CAM is drawn with cells as wide as its layer's stride. The effective receptive field of the unit beneath the
largest cell says which part of the image the value in that cell comes from. ResNet-18 has random weights with a fixed
seed here; say ``weights="DEFAULT"`` for trained ones.
"""

# %% A photograph and a network
import argparse
from pathlib import Path

import torch
from captum.attr import LayerGradCam
from matplotlib.patches import Rectangle
from torch.utils.data import DataLoader
from torchvision.models import resnet18

from captum_erf import EffectiveReceptiveField, visualization
from captum_erf.images import IMAGENET_MEAN, IMAGENET_STD, photograph

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("output/quickstart"))
output = parser.parse_args().output
output.mkdir(parents=True, exist_ok=True)

torch.manual_seed(0)
model = resnet18(weights=None).eval()
crops = photograph(16)  # a data set of random crops, each (3, 224, 224)
image = crops[0][None]

# %% Grad-CAM of layer3, and its largest cell
cells = LayerGradCam(model, model.layer3).attribute(image, target=int(model(image).argmax()))
row, column = divmod(int(cells.argmax()), cells.shape[-1])

# %% The same unit: its attribution in this image, and its mean over a data loader
erf = EffectiveReceptiveField(model, "layer3")
attribution = erf.attribute(image, position=(row, column))  # (1, 3, 224, 224), as from any other Captum method
field = erf.aggregate(DataLoader(crops, batch_size=4), position=(row, column))
print(field)

# %% The field over the photograph, and the cell as Grad-CAM draws it
std, mean = (torch.tensor(values)[:, None, None] for values in (IMAGENET_STD, IMAGENET_MEAN))
stride = field.theoretical.stride[0]
(side, error), (most, _) = (field.estimate(lambda f, s=s: f.radius_mass().diameter(s)) for s in (0.5, 0.9))
figure = visualization.overlay(
    field,
    (image[0] * std + mean).clamp(0, 1),
    title=f"A cell of Grad-CAM (layer3, {stride} px) and its unit's field",
    caption=f"Yellow: the largest cell of Grad-CAM, layer3 of ResNet-18 (random weights), {stride} px wide. Half "
    f"of what its unit responds to lies in {side:.1f} ± {error:.1f} px, 90 % in {most:.0f} px. The field lies around a "
    f"corner of the cell, not its middle: with strides and padding, units project onto multiples of {stride} px. Mean "
    f"over {field.num_samples} crops of one photograph.",
)
figure.axes[0].add_patch(
    Rectangle((column * stride - 0.5, row * stride - 0.5), stride, stride, fill=False, color="#ffd166", lw=2)
)
figure.savefig(output / "quickstart.png", dpi=150)
print(f"A cell of {stride} px: 50 % of its unit's field in {side:.1f} ± {error:.1f} px, 90 % in {most:.1f} px.")
