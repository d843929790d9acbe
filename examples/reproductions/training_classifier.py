"""
Does training make the effective receptive field of a classifier grow?

Reproduces the classifier of Luo et al. (NeurIPS 2016), section 3.2 and figure 5: a residual network of 17 blocks
without pooling or subsampling, on 32 x 32 images, before and after training.

Network: a 3 x 3 convolution, 17 blocks of two 3 x 3 convolutions (batch norm and ReLU before each), a 3 x 3
convolution ``top``, whose centre unit is measured; then batch norm, ReLU, the mean over positions and a linear layer.
8 channels throughout, He initialisation. The paper gives a theoretical field of 74 x 74 and no layout. Chains of 3 x
3 convolutions at stride 1 have odd fields; 17 blocks with one convolution before and one after them have 73 x 73, the
nearest one can get.

Data: Fashion-MNIST, padded to 32 x 32, unless --data names a folder of CIFAR-10 (with ``cifar-10-batches-py``) or
Fashion-MNIST. The first 2,000 training images, mirrored at random, for 6 epochs (--quick: 100 for 1), AdamW on a
one-cycle schedule; accuracy over 500 test images and fields over 50 of these. Batch norm's running statistics are
set on training images before the first measurement. Three seeds of weights and order; errors are standard errors over
seeds, and a 95 % interval is 4.30 of them to both sides. The trained networks are written beside the table. About four
minutes of one core.

Published, on CIFAR-10 at 89 % accuracy: the field "has grown significantly", without a number, and does not fill the
image.
"""

# %%
import numpy as np
import torch
from helpers import COLOURS, MARKERS, arguments, colour_bar, draw_curve, draw_map, new_figure, save_figure, write_table
from training import (
    TOP,
    ResidualClassifier,
    accuracy,
    changes,
    flip,
    load_images,
    over_seeds,
    settle_batch_norm,
    sizes_of,
    train,
)

from captum_erf import EffectiveReceptiveField, ERFMap

options = arguments(__doc__, "training_classifier", data="folder of CIFAR-10 or Fashion-MNIST")
IMAGES, EPOCHS, TESTED, MEASURED, SEEDS = (100, 1, 100, 10, 2) if options.quick else (2000, 6, 500, 50, 3)
images = load_images(options.data, train=IMAGES, test=TESTED)


# %% Training
def measure(model: ResidualClassifier) -> tuple[ERFMap, dict[str, float]]:
    field = EffectiveReceptiveField(model, TOP).aggregate(images.test[:MEASURED].split(20))
    assert field.theoretical.size == (73, 73), field.theoretical
    scores = {
        "tail_ratio": field.tail_ratio(),
        "accuracy": accuracy(model, images.test, images.test_labels),
    }
    return field, sizes_of(field) | scores


def course(seed: int) -> list[tuple[ERFMap, dict[str, float]]]:
    """Fields and numbers before training and after every epoch."""
    torch.manual_seed(seed)
    model = ResidualClassifier(images.train.shape[1])
    settle_batch_norm(model, images.train[:500])
    found = [measure(model)]
    for loss in train(
        model,
        images.train,
        images.train_labels,
        epochs=EPOCHS,
        batch_size=20,
        learning_rate=1e-2,
        augment=flip,
    ):
        found.append(measure(model))
        print(f"seed {seed}: loss {loss:.3f}, accuracy {found[-1][1]['accuracy']:.3f}", flush=True)
    torch.save(model.state_dict(), options.output / f"seed-{seed}.pt")
    return found


runs = [course(seed) for seed in range(SEEDS)]
print()
rows = [
    {"epoch": epoch} | over_seeds([numbers for _, numbers in points])
    for epoch, points in enumerate(zip(*runs, strict=True))
]
write_table(rows, options.output / "training_classifier.csv")
grown = [{"seeds": SEEDS} | over_seeds([changes(run[0][1], run[-1][1]) for run in runs])]
write_table(grown, options.output / "changes.csv")

# %%
figure, axes = new_figure(8, 3.6, 1, 4, width_ratios=(1, 1, 1.25, 1.25))
for panel, number, stage in zip(axes[0], (0, -1), ("before", "after"), strict=False):
    row, values = rows[number], np.mean([run[number][0].values / run[number][0].values.sum() for run in runs], 0)
    lines = [
        f"{name}: {row[key]:.1f} ± {row[f'{key}_se']:.1f} px"
        for name, key in (("50 %", "diameter_50"), ("90 %", "diameter_90"))
    ]
    draw_map(panel, values, f"{stage} training", "\n".join([*lines, f"accuracy {100 * row['accuracy']:.0f} %"]))
colour_bar(axes[0, 1])
sizes, scores = axes[0, 2:]
curves = {"diameter_90": "box with 90 %", "diameter_50": "box with 50 %"}
curves |= {"equivalent_width": "equivalent width", "threshold_size": "threshold size"}
for (column, label), colour, marker in zip(curves.items(), COLOURS, MARKERS, strict=False):
    draw_curve(sizes, range(EPOCHS + 1), rows, column, color=colour, marker=marker, label=label)
sizes.axhline(32, color="0.5", ls=":", lw=1)
sizes.text(EPOCHS, 32.4, "image", ha="right", va="bottom", fontsize="small", color="0.35")
for panel in (sizes, scores):
    panel.set_xticks(range(0, EPOCHS + 1, 2))
sizes.set(xlabel="epoch", ylabel="size [px]", ylim=(0, 36))
sizes.legend(frameon=False, fontsize="x-small", loc="upper left", bbox_to_anchor=(0, 0.89))
draw_curve(scores, range(EPOCHS + 1), rows, "accuracy", color=COLOURS[4], marker=MARKERS[4])
scores.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
caption = (
    "Effective receptive field of the centre unit of the last convolution in a residual classifier of 17 blocks on "
    f"32 x 32 images of {images.name}; its theoretical field, 73 x 73, is larger than the image. Each map over its own "
    f"maximum, mean over {SEEDS} seeds and {MEASURED} test images; bars and ± are standard errors over seeds."
)
save_figure(figure, options.output / "training_classifier.png", caption)
