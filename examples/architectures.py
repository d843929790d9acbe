"""
Deep with small kernels, or shallow with large ones? Choosing an architecture by its effective receptive field.

The question of someone who uses the package: at equal numbers of parameters, which of the classifiers of
training_classifier.py sees enough of the image, and does it pay? Five of them with 21,000 to 27,000 parameters, from
17 blocks of 3 x 3 to 2 blocks of 9 x 9 convolutions, and a wide, shallow one, are measured before and after training,
beside their accuracy.

Data: Fashion-MNIST, or CIFAR-10 with --data; 1,500 training images, 4 epochs, 3 seeds of weights and order (--quick:
200 images, 1 epoch, 2 seeds); accuracy over 2,000 test images, fields over 100 of them. Standard errors are over seeds.

Published: nothing. Measured: larger kernels go with larger fields, threshold sizes of 21.0 ± 0.1 px (17 blocks of 3 x
3), 27.2 ± 1.8 (5 x 5), 30.4 ± 0.3 (7 x 7) and 31.6 ± 0.1 px (9 x 9), although the theoretical field shrinks from 73 to
49. Accuracy does not follow: these four reach 58 to 60 %, and the shallow, wide network, which sees 14.0 ± 0.4 px,
69.2 ± 1.8 %. With 3 seeds and so little training that ranks networks by how fast they learn, too.
"""

# %%
import numpy as np
import torch
from common import (
    PALETTE,
    TOP,
    ResidualClassifier,
    accuracy,
    arguments,
    draw_map,
    flip,
    load_images,
    new_figure,
    save_figure,
    settle_batch_norm,
    train,
    with_error,
    write_table,
)

from captum_erf import EffectiveReceptiveField, ERFMap

options = arguments(__doc__, "architectures", data="folder of CIFAR-10 or Fashion-MNIST")
IMAGES, EPOCHS, SEEDS, TESTED, MEASURED = (200, 1, 2, 300, 20) if options.quick else (1500, 4, 3, 2000, 100)
SHAPES = {
    "17 blocks of 3x3": {"blocks": 17, "kernel_size": 3, "width": 8},
    "6 blocks of 5x5": {"blocks": 6, "kernel_size": 5, "width": 8},
    "3 blocks of 7x7": {"blocks": 3, "kernel_size": 7, "width": 8},
    "2 blocks of 9x9": {"blocks": 2, "kernel_size": 9, "width": 7},
    "4 wide blocks of 3x3": {"blocks": 4, "kernel_size": 3, "width": 16},
}
images = load_images(options.data, train=IMAGES, test=TESTED)


# %%
def field_of(model: ResidualClassifier) -> ERFMap:
    return EffectiveReceptiveField(model, TOP).aggregate(images.test[:MEASURED].split(20))


def run(shape: dict[str, int], seed: int) -> tuple[ERFMap, ERFMap, float]:
    """Fields before and after training, and the accuracy after it."""
    torch.manual_seed(seed)
    model = ResidualClassifier(images.channels, images.classes, **shape)
    settle_batch_norm(model, images.train[:200])
    before = field_of(model)
    for _ in train(
        model, images.train, images.train_labels, epochs=EPOCHS, batch_size=20, learning_rate=1e-2, augment=flip
    ):
        pass
    return before, field_of(model), accuracy(model, images.test, images.test_labels)


def over_seeds(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def numbers(name: str, runs: list[tuple[ERFMap, ERFMap, float]]) -> dict[str, object]:
    model = ResidualClassifier(images.channels, images.classes, **SHAPES[name])
    befores, afters, accuracies = zip(*runs, strict=True)
    return {
        "network": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trf": afters[0].theoretical.size[0],
        **with_error("size_before", over_seeds([field.threshold_size() for field in befores])),
        **with_error("size_after", over_seeds([field.threshold_size() for field in afters])),
        **with_error("diameter_90", over_seeds([field.radius_mass().diameter(0.9) for field in afters])),
        **with_error("accuracy", over_seeds(list(accuracies))),
    }


runs: dict[str, list[tuple[ERFMap, ERFMap, float]]] = {}
for name, shape in SHAPES.items():
    runs[name] = [run(shape, seed) for seed in range(SEEDS)]
    print(f"trained {name}", flush=True)
print()
rows = [numbers(name, found) for name, found in runs.items()]
write_table(rows, options.output / "architectures.csv")

# %%
figure, axes = new_figure(10.5, 3.6, 1, len(SHAPES) + 1, width_ratios=[1] * len(SHAPES) + [1.9])
for panel, row in zip(axes[0], rows, strict=False):
    note = f"{row['size_after']:.1f} ± {row['size_after_se']:.1f} px\naccuracy {row['accuracy']:.1%}"
    image = draw_map(panel, np.mean([after.values for _, after, _ in runs[row["network"]]], 0), row["network"], note)
    panel.title.set_fontsize("small")
figure.colorbar(image, ax=axes[0, -2], label="mean |dy/dx| over its max.", shrink=0.6)
for row, colour in zip(rows, (*PALETTE, "0.4"), strict=True):
    place, errors = (row["size_after"], row["accuracy"]), (row["size_after_se"], row["accuracy_se"])
    axes[0, -1].errorbar(*place, errors[1], errors[0], fmt="o", color=colour, capsize=3, label=row["network"])
axes[0, -1].set(xlabel="threshold size [px]", ylabel="accuracy")
axes[0, -1].legend(frameon=False, fontsize="x-small", loc="best")
caption = (
    f"Effective receptive fields of five classifiers with nearly equal numbers of parameters, trained on {IMAGES} "
    f"images of {images.name}: the mean map over {SEEDS} seeds and {MEASURED} test images, the seeds' mean size "
    "and mean accuracy; bars and ± are standard errors over seeds."
)
save_figure(figure, options.output / "architectures.png", caption)
