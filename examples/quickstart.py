"""The effective receptive field in an ordinary Captum workflow: one photograph, one layer, one picture.

    python examples/quickstart.py [--output DIR]

Prints the report of ResNet-18's layer3 (random weights, fixed seed) and writes ``quickstart.png``: the photograph
with the attribution of the layer's centre unit, drawn by Captum's ``visualize_image_attr``.
"""

# %% The photograph that matplotlib ships, as a batch of one
import argparse
from pathlib import Path

import torch
from captum.attr import visualization
from matplotlib.cbook import get_sample_data
from PIL import Image
from torchvision.models import resnet18
from torchvision.transforms.functional import center_crop, normalize, to_tensor

from captum_erf import EffectiveReceptiveField

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--output", type=Path, default=Path("output/quickstart"))
output = parser.parse_args().output

photograph = center_crop(
    to_tensor(Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")), [224, 224]
)
inputs = normalize(photograph, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])[None]

# %% The class in ten lines
torch.manual_seed(0)
model = resnet18(weights=None).eval()

erf = EffectiveReceptiveField(model, "layer3")
attributions = erf.attribute(inputs)  # (1, 3, 224, 224), as from any other Captum method
field = erf.aggregate([inputs])  # the same unit, averaged over a data loader, with its numbers
print(field)

# %% Captum's picture
figure, _ = visualization.visualize_image_attr(
    attributions.sum(1)[0, ..., None].numpy(),
    photograph.movedim(0, -1).numpy(),
    method="blended_heat_map",
    sign="positive",
    cmap="viridis",
    show_colorbar=True,
    title=f"|dy/dx| of layer3, unit {field.position}, one photograph",
    use_pyplot=False,
)
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "quickstart.png", dpi=150)
