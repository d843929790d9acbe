"""
Deep with small kernels, or shallow with large ones? Choosing an architecture by its effective receptive field.

The question of someone who uses the package: at equal numbers of parameters, which of the classifiers of
training_classifier.py sees enough of the image, and does it pay? Five of them with 20,576 to 22,562 parameters, from
17 blocks of 3 x 3 to 2 blocks of 9 x 9 convolutions, and a wide, shallow one, are measured before and after training,
beside their accuracy.

Data: Fashion-MNIST, or CIFAR-10 with --data; 1,500 training images, 4 epochs, 3 seeds of weights and order (--quick:
200 images, 1 epoch, 2 seeds); accuracy over 2,000 test images, fields over 100 of them. Standard errors are over seeds.

Published: nothing. Measured: larger kernels go with larger fields, boxes with 90 % of the map of 19.0 ± 1.2 px (17
blocks of 3 x 3), 27.0 ± 1.2 (5 x 5), 27.7 ± 0.7 (7 x 7) and 29 px (9 x 9), threshold sizes of 20.4 ± 1.1, 29.5 ± 0.7,
30.2 ± 0.6 and 31.7 ± 0.2 px, although the theoretical field shrinks from 73 to 49. Accuracy does not follow: these four
reach 58 to 62 %, and the shallow, wide network, whose box is 13.7 ± 0.7 px wide, 70.1 ± 1.5 %. With 3 seeds and so
little training that ranks networks by how fast they learn, too.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
import numpy as np
import torch
from common import (
    MARKERS,
    PALETTE,
    TOP,
    ResidualClassifier,
    accuracy,
    arguments,
    diameter,
    draw_map,
    flip,
    load_images,
    new_figure,
    over_seeds,
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


def numbers(name: str, runs: list[tuple[ERFMap, ERFMap, float]]) -> dict[str, object]:
    model = ResidualClassifier(images.channels, images.classes, **SHAPES[name])
    befores, afters, accuracies = zip(*runs, strict=True)
    return {
        "network": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trf": afters[0].theoretical.size[0],
        **with_error("size_before", over_seeds([field.threshold_size() for field in befores])),
        **with_error("size_after", over_seeds([field.threshold_size() for field in afters])),
        **with_error("diameter_90", over_seeds(list(map(diameter(0.9), afters)))),
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
figure, axes = new_figure(10.5, 3.4, 1, len(SHAPES) + 1, width_ratios=[1] * len(SHAPES) + [2.1])
for panel, row in zip(axes[0], rows, strict=False):
    note = f"90 % in {row['diameter_90']:.1f} ± {row['diameter_90_se']:.1f} px\naccuracy {row['accuracy']:.1%}"
    values = np.mean([after.values for _, after, _ in runs[row["network"]]], 0)
    image = draw_map(panel, values, row["network"].replace(" of ", "\nof "), note)
figure.colorbar(image, ax=axes[0, -2], label="mean |dy/dx| over its max.", shrink=0.6)
for row, colour, marker in zip(rows, (*PALETTE, "0.4"), (*MARKERS, "v"), strict=True):
    place, errors = (row["diameter_90"], row["accuracy"]), (row["diameter_90_se"], row["accuracy_se"])
    axes[0, -1].errorbar(
        *place, errors[1], errors[0], fmt=marker, markersize=5, color=colour, capsize=3, label=row["network"]
    )
axes[0, -1].set(xlabel="side of the box with 90 % [px]", ylabel="accuracy", xlim=(0, 32), ylim=(0, None))
axes[0, -1].legend(frameon=False, fontsize="small", loc="lower left")
caption = (
    f"Effective receptive fields of five classifiers with nearly equal numbers of parameters, trained on {IMAGES} "
    f"images of {images.name}: the mean map over {SEEDS} seeds and {MEASURED} test images of 32 x 32, and the mean "
    "over seeds of the side of the box around the unit that holds 90 % of a map (its steps are of 2 px) and of "
    "accuracy; bars and ± are standard errors over seeds."
)
save_figure(figure, options.output / "architectures.png", caption)
