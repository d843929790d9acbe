"""
Does the effective receptive field depend on the inputs: natural images, noise or constants?

A reviewer of Luo et al. (NeurIPS 2016) asked. The network is the residual classifier of training_classifier.py before
and after training on Fashion-MNIST, three seeds: those that it wrote, in the folder --networks, or trained here (2,000
images for 6 epochs; --quick: 100 for 1). The centre unit of its last convolution is measured on 100 inputs (--quick:
20) of each kind:

- images: test images;
- shuffled: the same with their pixels in random order, so with the same values but no structure;
- noise: normal random values of the data's mean and variance;
- constants: every image replaced by its mean value.

Each kind is compared with images seed by seed; errors are standard errors over seeds, and a 95 % interval is 4.30 of
them to both sides. Published: nothing. About a minute of one core with
--networks.
"""

# %%
import numpy as np
import torch
from helpers import COLOURS, MARKERS, arguments, colour_bar, draw_curve, draw_map, new_figure, save_figure, write_table
from torch import Tensor
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

options = arguments(
    __doc__,
    "input_statistics",
    data="folder of CIFAR-10 or Fashion-MNIST",
    networks="folder that training_classifier.py wrote",
)
IMAGES, EPOCHS, MEASURED, SEEDS = (100, 1, 20, 2) if options.quick else (2000, 6, 100, 3)
SHOWN = {"50 %": "diameter_50", "90 %": "diameter_90"}
images = load_images(options.data, train=IMAGES, test=5 * MEASURED)


def kinds(natural: Tensor) -> dict[str, Tensor]:
    order = torch.rand(len(natural), natural[0, 0].numel()).argsort(1)
    order = order[:, None].expand(-1, natural.shape[1], -1)
    return {
        "images": natural,
        "shuffled": natural.flatten(2).gather(2, order).view_as(natural),
        "noise": torch.randn_like(natural),
        "constants": natural.mean((2, 3), keepdim=True).expand_as(natural).contiguous(),
    }


# %%
inputs = kinds(images.test[:MEASURED])


def measure(model: ResidualClassifier, stage: str) -> dict[tuple[str, str], ERFMap]:
    erf = EffectiveReceptiveField(model.eval(), TOP)
    return {(stage, kind): erf.aggregate(given.split(20)) for kind, given in inputs.items()}


def course(seed: int) -> tuple[dict[tuple[str, str], ERFMap], float]:
    """The fields before and after training, and the accuracy after it."""
    torch.manual_seed(seed)
    model = ResidualClassifier(images.train.shape[1])
    settle_batch_norm(model, images.train[:500])
    before = measure(model, "before")
    if options.networks:
        model.load_state_dict(torch.load(options.networks / f"seed-{seed}.pt", weights_only=True))
    else:
        setting = {"epochs": EPOCHS, "batch_size": 20, "learning_rate": 1e-2, "augment": flip}
        for loss in train(model, images.train, images.train_labels, **setting):
            print(f"seed {seed}: loss {loss:.3f}", flush=True)
    return before | measure(model, "after"), accuracy(model, images.test, images.test_labels)


fields, accuracies = zip(*(course(seed) for seed in range(SEEDS)), strict=True)
print(f"accuracy {np.mean(accuracies):.2f}\n")
sizes = [{key: sizes_of(field) | {"tail_ratio": field.tail_ratio()} for key, field in its.items()} for its in fields]
rows = [{"network": key[0], "inputs": key[1]} | over_seeds([its[key] for its in sizes]) for key in fields[0]]
write_table(rows, options.output / "input_statistics.csv")
differences = [
    {"network": stage, "inputs": kind} | over_seeds([changes(its[stage, "images"], its[stage, kind]) for its in sizes])
    for stage, kind in fields[0]
    if kind != "images"
]
write_table(differences, options.output / "differences.csv")

# %%
figure, axes = new_figure(8, 5, 2, 4, height_ratios=(1, 1.3))
for panel, kind in zip(axes[0], inputs, strict=True):
    row = next(row for row in rows if (row["network"], row["inputs"]) == ("after", kind))
    values = np.mean([its["after", kind].values / its["after", kind].values.sum() for its in fields], 0)
    lines = (f"{name}: {row[key]:.1f} ± {row[f'{key}_se']:.1f} px" for name, key in SHOWN.items())
    draw_map(panel, values, kind, "\n".join(lines))
colour_bar(axes[0, -1])
grid = axes[1, 0].get_gridspec()
for panel in axes[1]:
    panel.remove()
for number, (name, key) in enumerate(SHOWN.items()):
    panel = figure.add_subplot(grid[1, 2 * number : 2 * number + 2])
    for stage, colour, marker in zip(("before", "after"), COLOURS, MARKERS, strict=False):
        its = [row for row in rows if row["network"] == stage]
        draw_curve(panel, range(4), its, key, color=colour, marker=marker, ls="", label=f"{stage} training")
    panel.set(ylabel=f"side of the box with {name} [px]", xlim=(-0.5, 3.5))
    panel.set_xticks(range(4), list(inputs))
    panel.margins(y=0.15)
panel.legend(frameon=False, fontsize="small")
caption = (
    "Effective receptive field of the last convolution of a residual classifier by kind of input. Above: mean "
    f"|dy/dx| over its maximum after training on {images.name} ({100 * np.mean(accuracies):.0f} % right), and sides of "
    f"the boxes that hold 50 and 90 %; below: these before and after training. {SEEDS} seeds, {MEASURED} inputs "
    "of 32 x 32; bars and ± are standard errors over seeds."
)
save_figure(figure, options.output / "input_statistics.png", caption)
