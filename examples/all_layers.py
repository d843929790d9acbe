"""
How does the effective receptive field grow from layer to layer of a real network?

    pip install -e ".[cli]" && python examples/all_layers.py [--output DIR] [--quick]

Every convolution of ResNet-18 outside its shortcuts, in one sweep that shares its passes over the data: a table of
theoretical fields, a table of effective ones as CSV, and one figure. Random weights with a fixed seed; say
``weights="DEFAULT"`` for trained ones.
"""

# %%
import argparse
import csv
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18

from captum_erf import EffectiveReceptiveField, theoretical_receptive_fields, visualization
from captum_erf.images import photograph

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("output/all_layers"))
parser.add_argument("--quick", action="store_true", help="4 crops of 64 px instead of 16 of 224 px")
options = parser.parse_args()
options.output.mkdir(parents=True, exist_ok=True)
images, size = (4, 64) if options.quick else (16, 224)

torch.manual_seed(0)
model = resnet18(weights=None).eval()
layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d) and "downsample" not in name]

# %% What could matter: no data needed. The halo is the overlap that makes tiled inference exact.
print(theoretical_receptive_fields(model, layers, (3, size, size)))

# %% What does matter
loader = DataLoader(photograph(images, size=size), batch_size=4)
fields = EffectiveReceptiveField(model, layers).sweep(loader)

rows = [field.summary() for field in fields]
with (options.output / "all_layers.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
for row in rows:
    size, error, share = row["diameter_50"], row["diameter_50_se"], row["erf_to_trf"]
    print(f"{row['layer']:>15}: 50 % of the field in {size:6.2f} ± {error:.2f} px; ERF/TRF {share:.2f}")

# %%
figure = visualization.plot_layers(fields, title="Convolutions of ResNet-18, random weights")
figure.savefig(options.output / "all_layers.png", dpi=150)
