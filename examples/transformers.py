"""
Do transformers see further than convolutional networks?

ResNet-50, ConvNeXt-T, ViT-B/16 and Swin-T on the same crops: fields of the centre unit in a middle and in the last
stage, channels summed with random signs; and the table of Ding et al. (RepLKNet, CVPR 2022, table 8) through
``protocols.REPLKNET``: the share of a 1024 x 1024 input that a square must cover to hold 20, 30, 50 and 99 % of
log10(A + 1), for the last stage.

Weights are random or, with --weights DEFAULT, trained where they can be downloaded (ViT then keeps to 224 x 224, its
only size). Random weights show the architecture alone: ConvNeXt's and ViT's residual branches start small, so that
little but the shortest path is seen; what attention learns to see is not in it. Inputs: 10 crops of 224 x 224 and 4 of
1024 x 1024 of one photograph (--quick: 2 of 112 x 112 and 1 of 224 x 224, without Swin-T, the slowest).

Published, trained on ImageNet: ResNet-101 0.9, 1.5, 3.2 and 22.4 % of the input at t = 20, 30, 50 and 99 %, RepLKNet-31
16.3, 24.7, 43.2 and 98.6 %; none of the four here. Measured, random weights: ResNet-50 0.6, 1.0, 1.9 and 9.3 %,
ConvNeXt-T 0.1, 0.1, 0.2 and 0.4 %, ViT-B/16 0.1, 0.1, 27.5 and 98.6 %, Swin-T 0.2, 0.2, 0.6 and 28.1 %.

So the answer depends on the measure, and no one number tells it. By the square with 99 % of log10(A + 1) the
transformers see further: 9.3 % of the input for ResNet-50, 28.1 for Swin-T, 98.6 for ViT-B/16, 0.4 for ConvNeXt-T. By
effective pixels of the last stage on 224 x 224 the order is another: ResNet-50 30,760 ± 210, Swin-T 3,360 ± 200,
ViT-B/16 1,069 ± 42, ConvNeXt-T 993 ± 4. ViT's field is its own patch on a faint plateau all over the image: half of its
map lies in 44 ± 10 px, 90 % in 202 px.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
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
from matplotlib.colors import PowerNorm
from torch import nn
from torch.utils.data import DataLoader

from captum_erf import EffectiveReceptiveField, ERFMap, channels_last, protocols, tokens
from captum_erf.images import photograph

options = arguments(__doc__, "transformers", weights="torchvision's name, such as DEFAULT")
CROPS, SIZE, LARGE_CROPS, LARGE = (2, 112, 1, 224) if options.quick else (10, 224, 4, 1024)
BLOCK = "encoder.layers.encoder_layer_"
NETWORKS = {
    "resnet50": (["layer3", "layer4"], "channels_first"),
    "convnext_tiny": (["features.5", "features.7"], "channels_first"),
    "vit_b_16": ([f"{BLOCK}5", f"{BLOCK}11"], tokens(prefix=1)),
    "swin_t": (["features.5", "features.7"], channels_last),
}
if options.quick:
    del NETWORKS["swin_t"]
SHARES = (20, 30, 50, 99)
PUBLISHED = {"ResNet-101": (0.009, 0.015, 0.032, 0.224), "RepLKNet-31": (0.163, 0.247, 0.432, 0.986)}


def network(name: str, size: int) -> nn.Module:
    sized = {"image_size": size} if name.startswith("vit") and size != 224 else {}
    return torchvision_network(name, options.weights, **sized)


def side(name: str, size: int) -> int:
    """The size of the network's inputs: trained, ViT has one size."""
    return 224 if options.weights and name.startswith("vit") else size


def crops(number: int, size: int) -> DataLoader:
    return DataLoader(photograph(number, size=size), batch_size=2)


# %% Maps
fields: dict[str, list[ERFMap]] = {}
for name, (layers, layout) in NETWORKS.items():
    size = side(name, SIZE)
    erf = EffectiveReceptiveField(network(name, size), layers, layout=layout)
    fields[name] = erf.sweep(crops(CROPS, size), channel="random")
rows = [
    {
        "network": name,
        "layer": field.layer,
        "grid": "x".join(map(str, field.grid)),
        "trf": "global" if field.theoretical.is_global else field.theoretical.size[0],
        **with_error("diameter_50", field.estimate(diameter(0.5))),
        **with_error("diameter_90", field.estimate(diameter(0.9))),
        **with_error("effective_pixels", field.estimate(ERFMap.effective_pixels)),
    }
    for name, found in fields.items()
    for field in found
]
write_table(rows, options.output / "transformers.csv")

# %% RepLKNet's table
squares = []
for name, (layers, layout) in NETWORKS.items():
    size = side(name, LARGE)
    erf = EffectiveReceptiveField(network(name, size), layers[-1], layout=layout)
    report = protocols.REPLKNET.report(protocols.REPLKNET.aggregate(erf, crops(LARGE_CROPS, size)))
    squares.append(
        {
            "network": name,
            "source": "measured",
            "size": size,
            "samples": report.num_samples,
            **{f"t{100 * row.share:.0f}": row.area for row in report.rows},
            **{f"free{100 * row.share:.0f}": row.scale_free_area for row in report.rows},
        }
    )
for name, areas in PUBLISHED.items():
    empty = dict.fromkeys(squares[0])
    measured = {f"t{share}": area for share, area in zip(SHARES, areas, strict=True)}
    squares.append(empty | {"network": name, "source": "published", "size": 1024} | measured)
write_table(squares, options.output / "replknet.csv")

# %%
figure, axes = new_figure(11, 5.2, 2, len(NETWORKS) + 1, width_ratios=[1] * len(NETWORKS) + [2])
for column, (name, found) in enumerate(fields.items()):
    for line, (field, stage) in enumerate(zip(found, ("middle stage", "last stage"), strict=True)):
        row = next(row for row in rows if (row["network"], row["layer"]) == (name, field.layer))
        note = f"50 % in {row['diameter_50']:.0f} px,\n{row['effective_pixels']:,.0f} effective pixels"
        image = draw_map(axes[line, column], field.values, name, note)
        image.set_norm(PowerNorm(0.5, 0, 1))
        axes[line, 0].set_ylabel(stage)
figure.colorbar(image, ax=axes[:, -2], label="mean |dy/dx| over its maximum,\npower scale (exponent 0.5)", shrink=0.7)
grid = axes[0, -1].get_gridspec()
for unused in axes[:, -1]:
    unused.remove()
panel = figure.add_subplot(grid[:, -1])
for row, colour, marker in zip(squares, (*PALETTE, "0.5", "black"), (*MARKERS, "x", "+"), strict=False):
    label = row["network"] + (", published" if row["source"] == "published" else "")
    style = "--" if row["source"] == "published" else "-"
    shares = [row[f"t{share}"] for share in SHARES]
    panel.plot(range(len(SHARES)), shares, style, color=colour, marker=marker, label=label)
panel.set_xticks(range(len(SHARES)), [f"{share} %" for share in SHARES])
panel.set(yscale="log", xlabel="t, share of log10(A + 1)", ylabel="square that holds it, share of the input")
panel.set_yticks((0.001, 0.01, 0.1, 1), ("0.1 %", "1 %", "10 %", "100 %"))
panel.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
weights = f"weights {options.weights}" if options.weights else "random weights"
caption = (
    f"Left: effective receptive fields of the centre unit, {weights}, channels summed with random signs; mean over "
    f"{CROPS} crops of {SIZE} x {SIZE}. Right: the table of Ding et al. for the last stage, "
    f"mean over {LARGE_CROPS} crops of {LARGE} x {LARGE}; published: trained on ImageNet, 1024 x 1024."
)
save_figure(figure, options.output / "transformers.png", caption)
