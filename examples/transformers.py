"""
Do transformers see further than convolutional networks?

ResNet-50, ConvNeXt-T, ViT-B/16 and Swin-T on the same crops: fields of the centre unit in a middle and in the last
stage, channels summed with random signs; and the table of Ding et al. (RepLKNet, CVPR 2022, table 8) through
``protocols.REPLKNET``: the share of a 1024 x 1024 input that a square must cover to hold 20, 30, 50 and 99 % of
log10(A + 1), for the last stage.

Weights are random or, with --weights DEFAULT, trained where they can be downloaded (ViT then keeps to 224 x 224, its
only size). Random weights show the architecture alone: ConvNeXt's and ViT's residual branches start small, so that
little but the shortest path is seen; what attention learns to see is not in it. Inputs: 10 crops of 224 x 224 and 4 of
1024 x 1024 of one photograph (--quick: ResNet-50 and Swin-T alone, 2 of 224 x 224 for both).

Published, trained on ImageNet: ResNet-101 0.9, 1.5, 3.2 and 22.4 % of the input at t = 20, 30, 50 and 99 %, RepLKNet-31
16.3, 24.7, 43.2 and 98.6 %; none of the four here. Measured, random weights: ResNet-50 0.6, 1.0, 1.9 and 9.3 %,
ConvNeXt-T 0.1, 0.1, 0.2 and 0.4 %, ViT-B/16 0.1, 0.1, 27.5 and 98.6 %, Swin-T 0.2, 0.2, 0.6 and 28.1 %. On 224 pixels
ResNet-50 weighs most pixels (30,760 ± 210 effective ones in its last stage, Swin-T 3,360 ± 200, ViT-B/16 1,069 ± 42,
ConvNeXt-T 993 ± 4). ViT's field is its own patch on a faint plateau all over the image: half of its map lies in 44 ± 10
px, 90 % in 202 px, and no one number tells that.
"""

# %%
from common import PALETTE, arguments, draw_map, new_figure, save_figure, torchvision_network, with_error, write_table
from torch import nn
from torch.utils.data import DataLoader

from captum_erf import EffectiveReceptiveField, ERFMap, channels_last, protocols, tokens
from captum_erf.images import photograph

options = arguments(__doc__, "transformers", weights="torchvision's name, such as DEFAULT")
CROPS, LARGE_CROPS, LARGE = (2, 2, 224) if options.quick else (10, 4, 1024)
BLOCK = "encoder.layers.encoder_layer_"
NETWORKS = {
    "resnet50": (["layer3", "layer4"], "channels_first"),
    "convnext_tiny": (["features.5", "features.7"], "channels_first"),
    "vit_b_16": ([f"{BLOCK}5", f"{BLOCK}11"], tokens(prefix=1)),
    "swin_t": (["features.5", "features.7"], channels_last),
}
if options.quick:
    NETWORKS = {name: NETWORKS[name] for name in ("resnet50", "swin_t")}


def network(name: str, size: int) -> nn.Module:
    sized = {"image_size": size} if name.startswith("vit") and size != 224 else {}
    return torchvision_network(name, options.weights, **sized)


def crops(number: int, size: int) -> DataLoader:
    return DataLoader(photograph(number, size=size), batch_size=2)


# %% Maps at 224 x 224
fields: dict[str, list[ERFMap]] = {}
for name, (layers, layout) in NETWORKS.items():
    erf = EffectiveReceptiveField(network(name, 224), layers, layout=layout)
    fields[name] = erf.sweep(crops(CROPS, 224), channel="random")
rows = [
    {
        "network": name,
        "layer": field.layer,
        "grid": "x".join(map(str, field.grid)),
        "trf": "global" if field.theoretical.is_global else field.theoretical.size[0],
        **with_error("diameter_50", field.estimate(lambda field: field.radius_mass().diameter(0.5))),
        **with_error("diameter_90", field.estimate(lambda field: field.radius_mass().diameter(0.9))),
        **with_error("effective_pixels", field.estimate(ERFMap.effective_pixels)),
    }
    for name, found in fields.items()
    for field in found
]
write_table(rows, options.output / "transformers.csv")

# %% RepLKNet's table
squares = []
for name, (layers, layout) in NETWORKS.items():
    size = 224 if options.weights and name.startswith("vit") else LARGE
    erf = EffectiveReceptiveField(network(name, size), layers[-1], layout=layout)
    report = protocols.REPLKNET.report(protocols.REPLKNET.aggregate(erf, crops(LARGE_CROPS, size)))
    squares.append(
        {
            "network": name,
            "size": size,
            "samples": report.num_samples,
            **{f"t{100 * row.share:.0f}": row.area for row in report.rows},
            **{f"free{100 * row.share:.0f}": row.scale_free_area for row in report.rows},
        }
    )
write_table(squares, options.output / "replknet.csv")

# %%
figure, axes = new_figure(9.5, 5.2, 2, len(NETWORKS) + 1, width_ratios=[1] * len(NETWORKS) + [1.3])
for column, (name, found) in enumerate(fields.items()):
    for line, (field, stage) in enumerate(zip(found, ("middle", "last stage"), strict=True)):
        row = next(row for row in rows if (row["network"], row["layer"]) == (name, field.layer))
        image = draw_map(axes[line, column], field.values, name, f"{stage}, 50 % in {row['diameter_50']:.0f} px")
figure.colorbar(image, ax=axes[:, -2], label="mean |dy/dx| over its maximum", shrink=0.6)
for line, which in enumerate(("diameter_50", "effective_pixels")):
    panel = axes[line, -1]
    for stage, colour in enumerate(PALETTE[:2]):
        chosen = rows[stage::2]
        errors = [row[f"{which}_se"] or 0.0 for row in chosen]
        label = ("middle", "last stage")[stage]
        places = range(len(chosen))
        panel.errorbar(places, [row[which] for row in chosen], errors, fmt="o", color=colour, capsize=3, label=label)
    panel.set_xticks(range(len(NETWORKS)), NETWORKS, rotation=40, ha="right", fontsize="small")
    panel.set(ylabel=("box with 50 % [px]", "effective pixels")[line], ylim=(0, None))
axes[0, -1].legend(frameon=False, fontsize="small")
weights = f"weights {options.weights}" if options.weights else "random weights"
caption = (
    f"Effective receptive fields of the centre unit in a middle stage (top) and the last (bottom), {weights}, channels "
    f"summed with random signs. Mean over {CROPS} crops of 224 x 224; bars are standard errors over crops."
)
save_figure(figure, options.output / "transformers.png", caption)
