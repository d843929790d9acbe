"""
Does training make the effective receptive field of a segmentation network grow?

Reproduces the segmentation network of Luo et al. (NeurIPS 2016), section 3.2 and figure 5: 16 residual blocks
interleaved with four subsamplings by 2, whose output is 16 times smaller than its input, before and after training.

Network: a 3 x 3 convolution, then four stages that each begin with a 3 x 3 convolution at stride 2 and go on with 3,
4, 6 and 3 blocks of two 3 x 3 convolutions (batch norm and ReLU before each), 8 channels, then 16, 24, 32 and 48 in
the stages; then batch norm, ReLU and a 1 x 1 convolution to the classes. The centre unit after the last block is
measured. The paper gives a theoretical field of 505 x 505 and no layout; this one, ResNet-34's, has exactly that.

Data: --data takes a folder of CamVid (``train``, ``trainannot``, ``test``, ``testannot``: PNG images and class
numbers, of which 11 is void); fields are then over whole test images of 352 x 480. Without it, scenes of 128 x 128:
three to five items of Fashion-MNIST, enlarged two to three times and tinted, on random crops of matplotlib's sample
photograph, with the item's class, or background, as the label. 1,000 scenes for 8 epochs (--quick: 120 for 2), AdamW
on a one-cycle schedule; mean intersection over union of the 11 classes over 200 other scenes, from the test items,
beside that of the most frequent class everywhere (guess_iou). Fields are over 20 larger scenes of 512 x 512, which
hold the theoretical field (--quick: 4).

Published, on CamVid: a diameter of about 100 before training and almost 150 after, of 505. Measured, on scenes from a
mean IoU of 0.02 to 0.39 (0.06 for background everywhere) in five minutes of one core: the threshold size falls from 207
± 6 to 101 ± 5 px in the first five epochs and then grows to 119 ± 4 px; the box with 95 % of the map from 213 to 129
and then 141 px. Training ends near the published size, but from a start twice as large, so that on the whole the
field shrinks here. Scenes of 128 x 128 with items of 56 to 84 px may not reward a wider view.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
import time
from pathlib import Path

import numpy as np
import torch
from common import (
    MARKERS,
    PALETTE,
    ResidualBlock,
    arguments,
    diameter,
    draw_curves,
    draw_map,
    new_figure,
    predictions,
    read_fashion_mnist,
    save_figure,
    settle_batch_norm,
    train,
    with_error,
    write_table,
)
from matplotlib.cbook import get_sample_data
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import pil_to_tensor

from captum_erf import EffectiveReceptiveField, ERFMap, theoretical_receptive_field

options = arguments(__doc__, "training_segmentation", data="folder of CamVid")
SCENES, EPOCHS, TESTED, MEASURED = (120, 2, 30, 4) if options.quick else (1000, 8, 200, 20)
CLASSES, STRIDE = 11, 16


# %% The network
class SegmentationNetwork(nn.Sequential):
    def __init__(self, blocks: tuple[int, ...] = (3, 4, 6, 3), widths: tuple[int, ...] = (8, 16, 24, 32, 48)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        stages = []
        for number, before, width in zip(blocks, widths, widths[1:], strict=False):
            subsample = [nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, width, 3, 2, padding=1, bias=False)]
            stages.append(nn.Sequential(*subsample, *[ResidualBlock(width) for _ in range(number)]))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.Conv2d(widths[-1], CLASSES, 1))


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


def load_camvid(folder: Path, part: str, number: int | None = None) -> tuple[Tensor, Tensor]:
    """Images ``(N, 3, 352, 480)`` from 0 to 1, the lowest rows left out, and the class of each pixel, -1 where void."""
    names = sorted(path.name for path in (folder / part).glob("*.png"))[:number]
    if not names:
        raise FileNotFoundError(f"{folder / part} holds no PNG images; --data takes a folder of CamVid.")
    images, labels = (
        torch.stack([pil_to_tensor(Image.open(folder / kind / name))[:, :352, :480] for name in names])
        for kind in (part, f"{part}annot")
    )
    return images / 255, labels[:, 0].long().where(labels[:, 0] < CLASSES, -1)


def at_units(labels: Tensor) -> Tensor:
    """The most frequent class in the 17 x 17 pixels around the centre of each unit's field, pixel 16 u; -1 is void."""
    shares = functional.one_hot(labels + 1, CLASSES + 1).permute(0, 3, 1, 2).float()
    return functional.avg_pool2d(shares, STRIDE + 1, STRIDE, padding=STRIDE // 2).argmax(1) - 1


def mean_iou(found: Tensor, labels: Tensor) -> float:
    """Mean intersection over union of the classes that occur."""
    counts = torch.bincount((labels * CLASSES + found)[labels >= 0], minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    unions = counts.sum(0) + counts.sum(1) - counts.diagonal()
    return (counts.diagonal()[unions > 0] / unions[unions > 0]).mean().item()


# %%
if options.data is None:
    name, items, test_items = (
        "scenes",
        read_fashion_mnist(train=True, padding=0),
        read_fashion_mnist(train=False, padding=0),
    )
    images, labels = compose(SCENES, 128, *items, seed=1)
    test_images, test_labels = compose(TESTED, 128, *test_items, seed=2)
    measured = compose(MEASURED, 512, *test_items, seed=3)[0]
else:
    name = "CamVid"
    (images, labels), (test_images, test_labels) = load_camvid(options.data, "train"), load_camvid(options.data, "test")
    measured = test_images[:MEASURED]
mean, std = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
images, test_images, measured = ((part - mean) / std for part in (images, test_images, measured))
labels, test_labels = at_units(labels), at_units(test_labels)

model = SegmentationNetwork()
trf = theoretical_receptive_field(model, "stages", measured[0].shape)
assert trf.size == (505, 505) and trf.stride == (STRIDE, STRIDE), trf
settle_batch_norm(model, images[:200])


# %%
def measure() -> ERFMap:
    return EffectiveReceptiveField(model, "stages").aggregate(measured.split(2))


def numbers(epoch: int, loss: float | None, field: ERFMap) -> dict[str, object]:
    found = predictions(model, test_images)
    return {
        "epoch": epoch,
        "loss": loss,
        "mean_iou": mean_iou(found, test_labels),
        "guess_iou": mean_iou(torch.full_like(found, int(test_labels[test_labels >= 0].mode().values)), test_labels),
        "accuracy": (found == test_labels)[test_labels >= 0].double().mean().item(),
        "trf": field.theoretical.size[0],
        **with_error("threshold_size", field.estimate(ERFMap.threshold_size)),
        **with_error("diameter_50", field.estimate(diameter(0.5))),
        **with_error("diameter_95", field.estimate(diameter(0.95))),
        **with_error("effective_pixels", field.estimate(ERFMap.effective_pixels)),
    }


# %% Training
start = time.perf_counter()
fields = [measure()]
rows = [numbers(0, None, fields[0])]
for epoch, loss in enumerate(train(model, images, labels, epochs=EPOCHS, batch_size=5, learning_rate=5e-3), start=1):
    fields.append(measure())
    rows.append(numbers(epoch, loss, fields[-1]))
    print(f"epoch {epoch} of {EPOCHS}: loss {loss:.3f}, mean IoU {rows[-1]['mean_iou']:.3f}", flush=True)
print(f"Trained on {len(images)} {name} in {time.perf_counter() - start:.0f} s\n")
write_table(rows, options.output / "training_segmentation.csv")
torch.save(model.state_dict(), options.output / "checkpoint.pt")

# %%
figure, axes = new_figure(7.2, 6.4, 2, 2, height_ratios=(1, 0.8))
for panel, row, field in zip(axes[0], (rows[0], rows[-1]), (fields[0], fields[-1]), strict=True):
    title = f"{'after' if row['epoch'] else 'before'} training"
    size = f"{row['threshold_size']:.0f} ± {row['threshold_size_se']:.0f} px"
    note = f"mean IoU {row['mean_iou']:.2f}\nthreshold size {size}"
    image = draw_map(panel, field.values, title, note)
figure.colorbar(image, ax=axes[0], label="mean |dy/dx| over its max. (linear)")
curves = {"threshold_size": "threshold size", "diameter_95": "box with 95 %", "diameter_50": "box with 50 %"}
sizes, scores = axes[1]
draw_curves(sizes, rows, "epoch", curves)
sizes.set(xlabel="epoch", xticks=range(EPOCHS + 1), ylabel="diameter [px]", ylim=(0, None))
sizes.legend(frameon=False, fontsize="small", loc="best")
course = [row["mean_iou"] for row in rows]
scores.plot(range(EPOCHS + 1), course, color=PALETTE[3], marker=MARKERS[3], markersize=4)
guess = rows[0]["guess_iou"]
scores.axhline(guess, color="0.5", ls=":", lw=1)
scores.text(EPOCHS, guess, "most frequent class everywhere", ha="right", va="bottom", fontsize="small")
scores.set(xlabel="epoch", xticks=range(EPOCHS + 1), ylabel="mean IoU", ylim=(0, None))
caption = (
    "Effective receptive field of the centre unit after the last block in a segmentation network of 16 "
    f"residual blocks and four subsamplings, trained on {name}; its theoretical field is 505 x 505. Mean over "
    f"{len(measured)} images of {measured.shape[2]} x {measured.shape[3]} (the panels); bars and ± are standard "
    "errors over images."
)
save_figure(figure, options.output / "training_segmentation.png", caption)
