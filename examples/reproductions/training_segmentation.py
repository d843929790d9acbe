"""
Does training make the effective receptive field of a segmentation network grow?

Reproduces the segmentation network of Luo et al. (NeurIPS 2016), section 3.2 and figure 5: 16 residual blocks
interleaved with four subsamplings by 2, whose output is 16 times smaller than its input, before and after training.

Network: a 3 x 3 convolution, then four stages that each begin with a 3 x 3 convolution at stride 2 and go on with 3,
4, 6 and 3 blocks of two 3 x 3 convolutions (batch norm and ReLU before each), 8, 8, 16, 24 and 32 channels; then batch
norm, ReLU and a 1 x 1 convolution to the classes. The centre unit after the last block is measured. The paper gives a
theoretical field of 505 x 505 and no layout; this one, ResNet-34's, has exactly that.

Two starts: He et al.'s initialisation as it is, and with the last convolution of every branch times 0.1, close to the
zero-initialised branches that are common today. The first lets every path count from the start, and its field is wide
before any training; the second begins with the short paths.

Data: --data takes a folder of CamVid (``train``, ``trainannot``, ``test``, ``testannot``: PNG images and class
numbers, of which 11 is void); fields are then over whole test images of 352 x 480. Without it, scenes of 256 x 256,
wider than either field at the start: 12 to 20 items of Fashion-MNIST, enlarged two to three times and tinted, on random
crops of matplotlib's sample photograph, with the item's class, or background, as the label. 300 scenes for 2 epochs
(--quick: 8 of 128 x 128 for 1), AdamW on a one-cycle schedule; mean intersection over union of the 11 classes over 50
other scenes, beside that of the most frequent class everywhere (guess_iou). Fields are over 8 scenes of 512 x 512,
which hold the theoretical field. Three seeds of weights and order; errors are standard errors over seeds, and a 95 %
interval is 4.30 of them to both sides. About eight minutes of one core.

Published, on CamVid: a diameter of about 100 before training and almost 150 after, of 505.
"""

# %%
from pathlib import Path

import numpy as np
import torch
from helpers import COLOURS, MARKERS, arguments, colour_bar, draw_curve, draw_map, new_figure, save_figure, write_table
from matplotlib.cbook import get_sample_data
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import pil_to_tensor
from training import (
    ResidualBlock,
    changes,
    normed,
    over_seeds,
    predictions,
    read_fashion_mnist,
    settle_batch_norm,
    sizes_of,
    train,
)

from captum_erf import EffectiveReceptiveField, ERFMap

options = arguments(__doc__, "training_segmentation", data="folder of CamVid")
SCENES, SIDE, EPOCHS, REPORTS = (8, 128, 1, 1) if options.quick else (300, 256, 2, 1)
TESTED, MEASURED, MEASURED_SIDE, SEEDS = (8, 1, 256, 2) if options.quick else (50, 8, 512, 3)
CLASSES, STRIDE, WIDTHS, BLOCKS = 11, 16, (8, 8, 16, 24, 32), (3, 4, 6, 3)
STARTS = {"branches as they are": 1.0, "branches times 0.1": 0.1}


# %% The network
class SegmentationNetwork(nn.Sequential):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        stages = [
            nn.Sequential(*normed(before, width, 2), *[ResidualBlock(width) for _ in range(number)])
            for number, before, width in zip(BLOCKS, WIDTHS, WIDTHS[1:], strict=False)
        ]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.BatchNorm2d(WIDTHS[-1]), nn.ReLU(), nn.Conv2d(WIDTHS[-1], CLASSES, 1))
        for block in self.modules():
            if isinstance(block, ResidualBlock):
                block.branch[-1].weight.data *= scale


# %% Scenes
def compose(number: int, size: int, items: Tensor, classes: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Scenes ``(number, 3, size, size)`` from 0 to 1, and the class of each pixel, 0 where there is no item."""
    draw = np.random.default_rng(seed)
    photograph = pil_to_tensor(Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False))) / 255
    scenes, labels = torch.empty(number, 3, size, size), torch.zeros(number, size, size, dtype=torch.int64)
    for scene, label in zip(scenes, labels, strict=True):
        scene[:] = crop(photograph, size, draw)
        for _ in range(draw.integers(3, 6) * (size // 128) ** 2):
            chosen, side = draw.integers(len(items)), int(28 * draw.uniform(2, 3))
            grey = functional.interpolate(items[chosen : chosen + 1].float() / 255, (side, side), mode="bilinear")[0]
            mask = -functional.max_pool2d(-functional.max_pool2d((grey > 0.05).float(), 5, 1, 2), 5, 1, 2)[0] > 0
            top, left = draw.integers(0, size - side, 2)
            region = (slice(top, top + side), slice(left, left + side))
            tint = torch.from_numpy(draw.uniform(0.5, 1, (3, 1, 1))).float()
            scene[(slice(None), *region)] = torch.where(mask, grey * tint, scene[(slice(None), *region)])
            label[region][mask] = classes[chosen] + 1
    return scenes, labels


def crop(photograph: Tensor, size: int, draw: np.random.Generator) -> Tensor:
    """A square of the photograph at a random place, scale and order of colours."""
    side = int(draw.uniform(0.2, 1) * min(photograph.shape[1:]))
    top, left = (draw.integers(0, length - side + 1) for length in photograph.shape[1:])
    piece = photograph[draw.permutation(3), top : top + side, left : left + side]
    return functional.interpolate(piece[None], (size, size), mode="bilinear")[0]


def load_camvid(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images ``(N, 3, 352, 480)`` from 0 to 1, the lowest rows left out, and the class of each pixel, -1 where void."""
    names = sorted(path.name for path in (folder / part).glob("*.png"))
    if not names:
        raise FileNotFoundError(f"{folder / part} holds no PNG images; --data takes a folder of CamVid.")
    images, labels = (
        torch.stack([pil_to_tensor(Image.open(folder / kind / name))[:, :352, :480] for name in names])
        for kind in (part, f"{part}annot")
    )
    return images / 255, labels[:, 0].long().where(labels[:, 0] < CLASSES, -1)


def at_units(labels: Tensor) -> Tensor:
    """The most frequent class in the 17 x 17 pixels around the centre of each unit's field, pixel 16 u; -1 is void."""
    shares = (functional.one_hot(part + 1, CLASSES + 1).permute(0, 3, 1, 2).float() for part in labels.split(1))
    means = [functional.avg_pool2d(share, STRIDE + 1, STRIDE, padding=STRIDE // 2) for share in shares]
    return torch.cat(means).argmax(1) - 1


def mean_iou(found: Tensor, labels: Tensor) -> float:
    """Mean intersection over union of the classes that occur."""
    counts = torch.bincount((labels * CLASSES + found)[labels >= 0], minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    unions = counts.sum(0) + counts.sum(1) - counts.diagonal()
    return (counts.diagonal()[unions > 0] / unions[unions > 0]).mean().item()


# %%
if options.data is None:
    name, items, test_items = (
        "scenes of items of Fashion-MNIST",
        *(read_fashion_mnist(train=part, padding=0) for part in (True, False)),
    )
    images, labels = compose(SCENES, SIDE, *items, seed=1)
    test_images, test_labels = compose(TESTED, SIDE, *test_items, seed=2)
    shown = compose(MEASURED, MEASURED_SIDE, *test_items, seed=3)[0]
else:
    name = "CamVid"
    (images, labels), (test_images, test_labels) = (load_camvid(options.data, part) for part in ("train", "test"))
    shown = test_images[:MEASURED]
mean, std = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
images, test_images, shown = ((part - mean) / std for part in (images, test_images, shown))
labels, test_labels = at_units(labels), at_units(test_labels)
frequent = int(test_labels[test_labels >= 0].mode().values)
guess_iou = mean_iou(torch.full_like(test_labels, frequent), test_labels)


# %% Training
def measure(model: nn.Module) -> tuple[ERFMap, dict[str, float]]:
    field = EffectiveReceptiveField(model, "stages").aggregate(shown.split(1))
    assert field.theoretical.size == (505, 505), field.theoretical
    return field, sizes_of(field) | {"mean_iou": mean_iou(predictions(model, test_images, 10), test_labels)}


def course(scale: float, seed: int) -> list[tuple[ERFMap, dict[str, float]]]:
    """Fields and numbers in the course of training."""
    torch.manual_seed(seed)
    model = SegmentationNetwork(scale)
    settle_batch_norm(model, images[:100], 10)
    found = [measure(model)]
    for loss in train(
        model, images, labels, epochs=EPOCHS, batch_size=2, learning_rate=5e-3, reports_per_epoch=REPORTS
    ):
        found.append(measure(model))
        print(f"branches times {scale}, seed {seed}: loss {loss:.3f}, {found[-1][1]}", flush=True)
    return found


courses = {start: [course(scale, seed) for seed in range(SEEDS)] for start, scale in STARTS.items()}
print()
seen = [step * len(images) // REPORTS for step in range(EPOCHS * REPORTS + 1)]
rows = [
    {"start": start, "scenes": scenes, "guess_iou": guess_iou} | over_seeds([numbers for _, numbers in points])
    for start, runs in courses.items()
    for scenes, points in zip(seen, zip(*runs, strict=True), strict=True)
]
write_table(rows, options.output / "training_segmentation.csv")
grown = [
    {"start": start, "seeds": SEEDS} | over_seeds([changes(run[0][1], run[-1][1]) for run in runs])
    for start, runs in courses.items()
]
write_table(grown, options.output / "changes.csv")

# %%
figure, axes = new_figure(8, 6.6, 2, 3, width_ratios=(1, 1, 1.25))
middle = (np.array(shown.shape[2:]) - 1) / 2
for line, (start, runs) in zip(axes, courses.items(), strict=True):
    its = [row for row in rows if row["start"] == start]
    for panel, number, stage in zip(line, (0, -1), ("before", "after"), strict=False):
        values = np.mean([run[number][0].values / run[number][0].values.sum() for run in runs], 0)
        core, tails = (
            f"{its[number][key]:.1f} ± {its[number][f'{key}_se']:.1f} px" for key in ("diameter_50", "diameter_90")
        )
        draw_map(panel, values, f"{stage} training", f"50 %: {core}\n90 %: {tails}", 0.5)
        panel.set(xlim=middle[1] + np.array([-128, 128]), ylim=middle[0] + np.array([128, -128]))
    line[0].set_ylabel(start)
    colour_bar(line[1], 0.5)
    labels_of = {"diameter_90": "box with 90 %", "diameter_50": "box with 50 %"}
    labels_of |= {"equivalent_width": "equivalent width", "threshold_size": "threshold size"}
    for (column, label), colour, marker in zip(labels_of.items(), COLOURS, MARKERS, strict=False):
        draw_curve(line[2], seen, its, column, color=colour, marker=marker, label=label)
    line[2].set(
        xlabel="training scenes seen", ylabel="size [px]", ylim=(0, 1.1 * max(row["diameter_90"] for row in rows))
    )
axes[1, 2].legend(frameon=False, fontsize="small", loc="upper right")
scores = {row["start"]: f"{row['mean_iou']:.2f} ± {row['mean_iou_se']:.2f}" for row in rows}
caption = (
    "Effective receptive field of the centre unit after the last of 16 residual blocks with four subsamplings "
    f"(theoretical field 505 x 505), trained on {name}, from two starts of the residual branches. Maps: the middle "
    f"256 x 256 px, each over its own maximum on a square-root scale, mean over {SEEDS} seeds and {len(shown)} images "
    f"of {' x '.join(map(str, shown.shape[2:]))}. Bars and ± are standard errors over seeds. Mean IoU after training: "
    f"{', '.join(f'{score} ({start})' for start, score in scores.items())}; {guess_iou:.2f} for background everywhere."
)
save_figure(figure, options.output / "training_segmentation.png", caption)
