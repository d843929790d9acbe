"""What the studies that train share: images, a residual network, the training loop, and numbers over seeds."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn
from torchvision.datasets import CIFAR10

from captum_erf import ERFMap

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
TOP = "top"  # the convolution of the classifier that is measured


# %% Images


@dataclass(frozen=True)
class Images:
    """Images ``(N, C, 32, 32)``, with a mean of 0 and a variance of 1 over the training images, and their classes."""

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load_images(folder: Path | None = None, *, train: int | None = None, test: int | None = None) -> Images:
    """
    The first images of CIFAR-10 (a folder with ``cifar-10-batches-py``) or Fashion-MNIST (a folder with
    ``train-images-idx3-ubyte.gz`` and so on, padded by 2 pixels to 32 x 32; Debian's unless given).
    """
    folder = folder or FASHION_MNIST
    is_cifar = (folder / "cifar-10-batches-py").is_dir()
    read = _read_cifar if is_cifar else read_fashion_mnist
    (images, labels), (tests, test_labels) = read(folder, True), read(folder, False)
    images, tests = images[:train].float(), tests[:test].float()
    mean, std = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
    name = "CIFAR-10" if is_cifar else "Fashion-MNIST"
    return Images(name, (images - mean) / std, labels[:train], (tests - mean) / std, test_labels[:test])


def _read_cifar(folder: Path, train: bool) -> tuple[Tensor, Tensor]:
    data = CIFAR10(folder, train=train)
    return torch.from_numpy(data.data).permute(0, 3, 1, 2), torch.tensor(data.targets)


def read_fashion_mnist(folder: Path = FASHION_MNIST, train: bool = True, padding: int = 2) -> tuple[Tensor, Tensor]:
    """Grey values from 0 to 255 of shape ``(N, 1, 28 + 2 padding, 28 + 2 padding)``, and classes from 0 to 9."""
    start = "train" if train else "t10k"
    files = folder / f"{start}-images-idx3-ubyte.gz", folder / f"{start}-labels-idx1-ubyte.gz"
    try:
        pixels, labels = (np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8) for file in files)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder} holds neither Fashion-MNIST nor CIFAR-10: {error.filename} is missing. Install Debian's package "
            "dataset-fashion-mnist, or name the folder with --data."
        ) from error
    images = torch.from_numpy(pixels[16:].reshape(-1, 1, 28, 28).copy())
    return functional.pad(images, [padding] * 4), torch.from_numpy(labels[8:].astype(np.int64))


# %% Networks


class ResidualBlock(nn.Module):
    """``x + f(x)``, f being two convolutions, each after batch norm and ReLU (He et al., 2016, pre-activation)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*normed(width, width), *normed(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def normed(channels: int, width: int, stride: int = 1) -> list[nn.Module]:
    """Batch norm, ReLU and a 3 x 3 convolution, He et al.'s initialisation."""
    convolution = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return [nn.BatchNorm2d(channels), nn.ReLU(), convolution]


class ResidualClassifier(nn.Sequential):
    """
    A residual network of 3 x 3 convolutions without pooling or striding until the mean over positions at its end. The
    theoretical field of its last convolution, ``top``, is 5 + 4 blocks: 73 px for 17.
    """

    def __init__(self, channels: int, *, blocks: int = 17, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(blocks)])
        self.norm, self.relu, self.top = normed(width, width)
        self.head = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)
        )


def settle_batch_norm(model: nn.Module, images: Tensor, batch_size: int = 50) -> None:
    """
    Sets the running statistics of an untrained network's batch norms, so that it can be measured in evaluation mode as
    it is trained: with those that it is made with, variances double from block to block.
    """
    update_bn(images.split(batch_size), model)


# %% Training


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    reports_per_epoch: int = 1,
    augment: Callable[[Tensor], Tensor] = lambda batch: batch,
) -> Iterator[float]:
    """
    Trains with AdamW on a one-cycle schedule and the cross entropy, the labels of -1 left out, and yields the mean
    loss since the last report. The images' order is drawn from torch's generator.
    """
    steps = len(images) // batch_size
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * steps)
    order = torch.cat([torch.randperm(len(images))[: steps * batch_size] for _ in range(epochs)])
    losses: list[float] = []
    for step, chosen in enumerate(order.split(batch_size), start=1):
        model.train()
        loss = functional.cross_entropy(model(augment(images[chosen])), labels[chosen], ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % (steps // reports_per_epoch) == 0:
            yield float(np.mean(losses))
            losses.clear()


def flip(images: Tensor) -> Tensor:
    """Mirrors a random half of the images."""
    return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(-1), images)


@torch.no_grad()
def predictions(model: nn.Module, images: Tensor, batch_size: int = 100) -> Tensor:
    """The most likely class of each image, or of each of its output positions, in evaluation mode."""
    model.eval()
    return torch.cat([model(batch).argmax(1) for batch in images.split(batch_size)])


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    return (predictions(model, images) == labels).double().mean().item()


# %% Numbers over seeds

SIZES: dict[str, Callable[[ERFMap], float]] = {
    "diameter_50": lambda field: field.radius_mass().diameter(0.5),
    "diameter_90": lambda field: field.radius_mass().diameter(0.9),
    "equivalent_width": ERFMap.equivalent_width,
    "threshold_size": ERFMap.threshold_size,
}
STUDENT = {2: 12.71, 3: 4.303, 5: 2.776}  # t for 95 % by the number of seeds


def sizes_of(field: ERFMap) -> dict[str, float]:
    """The core, the tails, the width that needs no threshold, and the paper's size, in px."""
    return {name: statistic(field) for name, statistic in SIZES.items()}


def over_seeds(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each column over the seeds' rows, and its standard error as the column ``..._se``."""
    found = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        found |= {key: float(np.mean(values)), f"{key}_se": float(np.std(values, ddof=1) / len(values) ** 0.5)}
    return found


def changes(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How much each number of a seed has grown."""
    return {key: after[key] - before[key] for key in before}
