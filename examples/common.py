"""What the example scripts share: arguments, tables and figures; small networks; images; a training loop."""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn
from torchvision.datasets import CIFAR10
from torchvision.models import get_model

from captum_erf import EffectiveReceptiveField, ERFMap, protocols, theory

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
PALETTE = ("#3b528b", "#d1495b", "#2a9d8f", "#e09f3e")
MARKERS = ("o", "s", "^", "D")
TOP = "top"  # the last convolution of the networks that are trained


# %% Arguments, tables and figures


def arguments(doc: str, name: str, **more: str) -> argparse.Namespace:
    """The script's options: --output, --quick, and further ones with their help; makes the output folder."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output") / name, help="folder for the table and figure")
    parser.add_argument("--quick", action="store_true", help="a small version, in seconds")
    for option, text in more.items():
        parser.add_argument(f"--{option}", type=Path, help=text)
    options = parser.parse_args([] if "ipykernel" in sys.modules else None)
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    return options


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Prints the rows as a table and writes them as CSV."""
    columns = list(rows[0])
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    cells = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def with_error(name: str, estimate: tuple[float | None, float | None]) -> dict[str, float | None]:
    """Two columns of a table: a number and its standard error, as ``ERFMap.estimate`` gives them."""
    return {name: estimate[0], f"{name}_se": estimate[1]}


def joint_estimate(
    fields: Sequence[ERFMap], statistic: Callable[[Sequence[ERFMap]], float]
) -> tuple[float, float | None]:
    """A number of several fields together, with its delete-a-group jackknife standard error."""
    rest = np.array([statistic(others) for others in zip(*(field.leave_one_out() for field in fields), strict=True)])
    if len(rest) < 2:
        return statistic(fields), None
    return statistic(fields), float(np.sqrt((len(rest) - 1) * rest.var()))


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Mean over the seeds and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def diameter(share: float) -> Callable[[ERFMap], float]:
    """The statistic of a field that is the side of the centred square with this share of the map."""
    return lambda field: field.radius_mass().diameter(share)


def new_figure(width: float, height: float, rows: int, columns: int, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure and its axes as an array of (rows, columns), apart from pyplot's state."""
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def draw_map(axes: Axes, values: np.ndarray, title: str, note: str = "") -> Any:
    """A map over its maximum on a linear scale from 0 to 1, with a title above and a note below."""
    image = axes.imshow(values / values.max(), cmap="magma", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel(note, fontsize="small")
    axes.set_xticks([])
    axes.set_yticks([])
    return image


def draw_curves(axes: Axes, rows: Sequence[Mapping[str, Any]], across: str, curves: Mapping[str, str]) -> None:
    """Columns of a table against another, under the labels given for them, with bars of one standard error."""
    for (column, label), colour, marker in zip(curves.items(), PALETTE, MARKERS, strict=False):
        errors = [row[f"{column}_se"] or 0.0 for row in rows]
        places, values = [row[across] for row in rows], [row[column] for row in rows]
        axes.errorbar(places, values, errors, color=colour, marker=marker, markersize=4, capsize=2, label=label)


def save_figure(figure: Figure, path: Path, caption: str) -> None:
    """Writes the figure with its caption underneath."""
    letters = int(figure.get_figwidth() * 15.5)
    figure.supxlabel(textwrap.fill(caption, letters), fontsize="small", x=0.01, ha="left")
    figure.savefig(path, dpi=150)
    print(f"Wrote {path}: {caption}\n")


# %% Random-weight networks


def convolutions(
    depth: int,
    activation: type[nn.Module] | None = None,
    *,
    weights: str = "random",
    width: int = 8,
    strides: Mapping[int, int] | None = None,
    dilations: Mapping[int, int] | None = None,
    dropout: float = 0.0,
) -> nn.Sequential:
    """
    A chain of 3 x 3 convolutions without bias or padding, from one channel to ``width`` channels, on layer numbers
    from 1. ``"random"`` weights are normal with He et al.'s variance, 2 / fan-in before a ReLU and 1 / fan-in else;
    ``"uniform"`` ones are all 1 / 9, of one channel.
    """
    width = 1 if weights == "uniform" else width
    layers: list[nn.Module] = []
    for number in range(1, depth + 1):
        stride, dilation = (strides or {}).get(number, 1), (dilations or {}).get(number, 1)
        layer = nn.Conv2d(1 if number == 1 else width, width, 3, stride, dilation=dilation, bias=False)
        if weights == "uniform":
            nn.init.constant_(layer.weight, 1 / 9)
        else:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if activation is nn.ReLU else "linear")
        layers += [layer] + ([activation()] if activation else []) + ([nn.Dropout(dropout)] if dropout else [])
    return nn.Sequential(*layers)


def field_of_draws(make_model: Callable[[], nn.Sequential], draws: int, **options: Any) -> ERFMap:
    """
    Field of the last layer's one unit, whose theoretical field is the whole input: the mean over draws of weights and
    of normal random inputs, one input to each network. Standard errors are over the draws.
    """
    chain = [
        (layer.kernel_size[0], layer.stride[0], layer.dilation[0])
        for layer in make_model().modules()
        if isinstance(layer, nn.Conv2d)
    ]
    size = theory.theoretical_size(chain)
    inputs = torch.randn(draws, 1, 1, size, size)

    def make_erf() -> EffectiveReceptiveField:
        model = make_model()
        return EffectiveReceptiveField(model, model[-1])

    return protocols.LUO2016.aggregate(make_erf, inputs, **options)


def beta_of(field: ERFMap) -> float:
    """Exponent of the generalised Gaussian that fits best: 2 for a Gaussian, 1 for a Laplace shape, more for a box."""
    return float(shape_of(field)["beta"])


def shape_of(field: ERFMap) -> dict[str, str | float]:
    """Two columns of a table: the family that fits best, and the exponent of the generalised Gaussian."""
    shapes = field.compare_shapes()
    beta = next(shape.beta for shape in shapes if shape.beta is not None)
    return {"best_shape": shapes[0].family.replace(" ", "-"), "beta": beta}


# %% Networks of torchvision


def torchvision_network(name: str, weights: Path | None, **settings: Any) -> nn.Module:
    """A network in evaluation mode, its weights random with a fixed seed, torchvision's by their name, or a file's."""
    torch.manual_seed(0)
    is_file = weights is not None and weights.is_file()
    try:
        model = get_model(name, weights=str(weights) if weights and not is_file else None, **settings)
        if is_file:
            model.load_state_dict(torch.load(weights, weights_only=True))
        return model.eval()
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise SystemExit(
            f"{name} cannot be had with --weights {weights}: {type(error).__name__}: {error}\n"
            f"Offline, put the file into {torch.hub.get_dir()}/checkpoints; without --weights they are random."
        ) from error


# %% Networks that are trained


class ResidualBlock(nn.Module):
    """``x + f(x)``, f being two convolutions, each after batch norm and ReLU (He et al., 2016, pre-activation)."""

    def __init__(self, width: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.branch = nn.Sequential(*[layer for _ in range(2) for layer in _normed(width, width, kernel_size)])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def _normed(channels: int, width: int, kernel_size: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, width, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return [nn.BatchNorm2d(channels), nn.ReLU(), convolution]


class ResidualClassifier(nn.Sequential):
    """
    A residual network without pooling or striding until the mean over positions at its end: a k x k convolution, the
    blocks, and a k x k convolution ``top``, whose theoretical field is ``1 + 2 (k - 1) (1 + blocks)``, 73 for 17.
    """

    def __init__(
        self, channels: int = 1, classes: int = 10, *, blocks: int = 17, width: int = 16, kernel_size: int = 3
    ) -> None:
        super().__init__()
        self.settings = {
            "channels": channels,
            "classes": classes,
            "blocks": blocks,
            "width": width,
            "kernel_size": kernel_size,
        }
        self.stem = nn.Conv2d(channels, width, kernel_size, padding=kernel_size // 2, bias=False)
        self.blocks = nn.Sequential(*[ResidualBlock(width, kernel_size) for _ in range(blocks)])
        self.norm, self.relu, self.top = _normed(width, width, kernel_size)
        self.head = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)
        )


def save_checkpoint(model: ResidualClassifier, path: Path) -> None:
    torch.save({"settings": model.settings, "state": model.state_dict()}, path)


def load_checkpoint(path: Path) -> ResidualClassifier:
    """The classifier that :func:`save_checkpoint` wrote, in evaluation mode."""
    stored = torch.load(path, weights_only=True)
    model = ResidualClassifier(**stored["settings"])
    model.load_state_dict(stored["state"])
    return model.eval()


# %% Images


@dataclass(frozen=True)
class Images:
    """Images ``(N, C, 32, 32)``, with a mean of 0 and a variance of 1 over the training images, and their classes."""

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    @property
    def channels(self) -> int:
        return self.train.shape[1]

    @property
    def classes(self) -> int:
        return 10


def load_images(folder: Path | None = None, *, train: int | None = None, test: int | None = None) -> Images:
    """
    The first images of CIFAR-10 (a folder with ``cifar-10-batches-py``) or Fashion-MNIST (a folder with
    ``train-images-idx3-ubyte.gz`` and so on, padded by 2 pixels to 32 x 32; Debian's unless given).
    """
    folder = folder or FASHION_MNIST
    is_cifar = (folder / "cifar-10-batches-py").is_dir()
    read = _read_cifar if is_cifar else read_fashion_mnist
    (pixels, labels), (test_pixels, test_labels) = read(folder, True), read(folder, False)
    images, test_images = pixels[:train].float(), test_pixels[:test].float()
    mean, std = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
    return Images(
        "CIFAR-10" if is_cifar else "Fashion-MNIST",
        (images - mean) / std,
        labels[:train],
        (test_images - mean) / std,
        test_labels[:test],
    )


def _read_cifar(folder: Path, train: bool) -> tuple[Tensor, Tensor]:
    data = CIFAR10(folder, train=train)
    return torch.from_numpy(data.data).permute(0, 3, 1, 2), torch.tensor(data.targets)


def read_fashion_mnist(folder: Path = FASHION_MNIST, train: bool = True, padding: int = 2) -> tuple[Tensor, Tensor]:
    """Grey values from 0 to 255 of shape ``(N, 1, 28 + 2 padding, 28 + 2 padding)``, and classes from 0 to 9."""
    start = "train" if train else "t10k"
    try:
        pixels = np.frombuffer(gzip.decompress((folder / f"{start}-images-idx3-ubyte.gz").read_bytes()), np.uint8)
        labels = np.frombuffer(gzip.decompress((folder / f"{start}-labels-idx1-ubyte.gz").read_bytes()), np.uint8)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder} holds neither Fashion-MNIST nor CIFAR-10: {error.filename} is missing. Install Debian's package "
            "dataset-fashion-mnist, or name the folder with --data."
        ) from error
    images = torch.from_numpy(pixels[16:].reshape(-1, 1, 28, 28).copy())
    return functional.pad(images, [padding] * 4), torch.from_numpy(labels[8:].astype(np.int64))


# %% Training


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int = 50,
    learning_rate: float = 3e-3,
    reports_per_epoch: int = 1,
    augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> Iterator[float]:
    """
    Trains with AdamW on a one-cycle schedule and the cross entropy, the labels of -1 left out, and yields the mean
    loss since the last report. The images' order is drawn from torch's generator.
    """
    steps = epochs * (len(images) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    order = torch.cat([torch.randperm(len(images))[: steps // epochs * batch_size] for _ in range(epochs)])
    every = steps // epochs // reports_per_epoch
    losses: list[float] = []
    for step, chosen in enumerate(order.split(batch_size), start=1):
        batch, targets = images[chosen], labels[chosen]
        if augment is not None:
            batch, targets = augment(batch, targets)
        model.train()
        loss = functional.cross_entropy(model(batch), targets, ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % every == 0:
            yield sum(losses) / len(losses)
            losses.clear()


def flip(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mirrors a random half of the images."""
    mirrored = torch.rand(len(images)) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images), labels


def settle_batch_norm(model: nn.Module, images: Tensor, batch_size: int = 50) -> None:
    """
    Sets the running statistics of an untrained network's batch norms, so that it can be measured in evaluation mode as
    it is trained: with those that it is made with, variances double from block to block.
    """
    update_bn(images.split(batch_size), model)


@torch.no_grad()
def predictions(model: nn.Module, images: Tensor, batch_size: int = 100) -> Tensor:
    """The most likely class of each image, or of each of its output positions, in evaluation mode."""
    model.eval()
    return torch.cat([model(batch).argmax(1) for batch in images.split(batch_size)])


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    return (predictions(model, images) == labels).double().mean().item()
