"""Crops of images as a data set: of matplotlib's sample photograph, or of a folder of one's own."""

from __future__ import annotations

import functools
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .cli.models import IMAGENET_MEAN, IMAGENET_STD, Channels

if TYPE_CHECKING:
    from PIL.Image import Image

PHOTOGRAPH = "grace_hopper.jpg"
CROP_SIDES = (0.3, 0.7)  # of random crops, as shares of the image's shorter side
NUM_SAMPLES = 32
NAMED_FILES = 10  # up to which a message names files one by one


class NoImagesError(ValueError):
    """A folder without a readable image."""


@dataclass(frozen=True)
class Crops(Dataset[Tensor]):
    r"""
    Square crops of images, normalised per channel, of shape ``(3, size, size)``.

    The first ``centered`` crops are one an image: its shorter side scaled to ``size``, and the middle of it. The
    others are of the images in turn, at a random place and scale that depends on ``seed`` and the crop's number alone,
    so that the same crops come back in whatever order they are asked for.

    Attributes:
        files (tuple[Path, ...]): The images.
        num_samples (int): Number of crops.
        words (str): What the crops are.
    """

    files: tuple[Path, ...]
    num_samples: int
    centered: int
    words: str
    size: int = 224
    seed: int = 0
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, number: int) -> Tensor:
        if not 0 <= number < self.num_samples:
            raise IndexError(f"crop {number} is outside the {self.num_samples} crops.")
        image = _read(self.files[number % len(self.files)])
        box = _centre(image) if number < self.centered else _anywhere(image, random.Random(f"{self.seed} {number}"))
        pixels = np.asarray(image.resize((self.size, self.size), box=box), dtype=np.float32) / 255
        mean, std = (np.array(values, dtype=np.float32) for values in (self.mean, self.std))
        normal = (pixels - mean) / std
        return torch.from_numpy(normal).movedim(-1, 0).contiguous()


def photograph(num_samples: int = NUM_SAMPLES, *, size: int = 224, seed: int = 0, **normalisation: Channels) -> Crops:
    r"""
    Random crops of the photograph that matplotlib ships, Grace Hopper's portrait by the U.S. Navy; no download.

    Examples::

        >>> crops = photograph(4, size=32)
        >>> len(crops), crops[0].shape
        (4, torch.Size([3, 32, 32]))
    """
    from matplotlib.cbook import get_sample_data

    file = Path(get_sample_data(PHOTOGRAPH, asfileobj=False))
    words = f"{num_samples} crops of {size} x {size}, at random places and scales, of matplotlib's {PHOTOGRAPH}"
    return Crops((file,), num_samples, 0, words, size, seed, **normalisation)


def folder(
    path: str | Path, num_samples: int | None = None, *, size: int = 224, seed: int = 0, **normalisation: Channels
) -> Crops:
    r"""
    Crops of the images in a folder and the folders below it.

    The images are taken in a random order, one central crop each. Where more crops are asked for than there are images,
    the rest are random crops of the same images, which are not independent samples.

    Gray images of 16 bits are read with 65535 as white. Those of 32-bit integers or floats (Pillow's modes ``I`` and
    ``F``) do not tell what white is, and are skipped.

    Args:
        path (str or Path): The folder; labels are not needed.
        num_samples (int, optional): Number of crops; None means one of each image, 32 at most.
        size (int): Side of the crops in pixels.
        seed (int): Of the order and the crops.
        mean, std (tuple): Normalisation per channel, ImageNet's unless given.

    Raises:
        NotADirectoryError: There is no such folder.
        NoImagesError: No file in it can be read as an image.

    Warns:
        UserWarning: Files that are no images, damaged, or of 32 bits, are left out; their names are listed.
    """
    root = Path(path)
    if not root.is_dir():
        raise NotADirectoryError(f"There is no folder {root}.")
    files = sorted(file for file in root.rglob("*") if file.is_file() and not _hidden(file.relative_to(root)))
    random.Random(seed).shuffle(files)
    found, unreadable = _readable(files, num_samples or NUM_SAMPLES)
    if unreadable:
        _warn(unreadable, root)
    if not found:
        raise NoImagesError(
            f"{root} holds no image that can be read, among {len(files)} files; --data takes a folder of JPEG, PNG or "
            "other images, in folders of its own or not."
        )
    count = num_samples or len(found)
    return Crops(tuple(found), count, len(found), _words(root, len(found), count, size), size, seed, **normalisation)


def _words(root: Path, images: int, count: int, size: int) -> str:
    if count == images:
        return f"{count} crops of {size} x {size}, one of each of {images} images from {root}"
    return (
        f"{count} crops of {size} x {size} of only {images} images from {root}; crops of one image are alike, so the "
        "standard errors come out too small"
    )


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _readable(files: Sequence[Path], wanted: int) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The first files that can be decoded to their end, and those before them that cannot, with the reason."""
    found: list[Path] = []
    unreadable: list[tuple[Path, str]] = []
    for file in files:
        if len(found) == wanted:
            break
        try:
            _read(file)
            found.append(file)
        except Exception as error:
            unreadable.append((file, _reason(error)))
    return found, unreadable


def _reason(error: Exception) -> str:
    return "no image" if type(error).__name__ == "UnidentifiedImageError" else str(error)


def _warn(unreadable: Sequence[tuple[Path, str]], root: Path) -> None:
    named = [f"{file.relative_to(root)} ({reason})" for file, reason in sorted(unreadable)[:NAMED_FILES]]
    rest = len(unreadable) - len(named)
    more = f" and {rest} more" if rest else ""
    warnings.warn(f"Skipped files in {root}: {', '.join(named)}{more}.", stacklevel=3)


@functools.lru_cache(maxsize=1)
def _read(file: Path) -> Image:
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(file) as image:
            return _rgb(ImageOps.exif_transpose(image))


def _rgb(image: Image) -> Image:
    from PIL.Image import fromarray

    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode}, which does not tell how bright white is; save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        image = fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    return image.convert("RGB")


def _centre(image: Image) -> tuple[float, float, float, float]:
    side = min(image.size)
    left, top = ((length - side) / 2 for length in image.size)
    return left, top, left + side, top + side


def _anywhere(image: Image, draw: random.Random) -> tuple[float, float, float, float]:
    side = draw.uniform(*CROP_SIDES) * min(image.size)
    left, top = (draw.uniform(0, length - side) for length in image.size)
    return left, top, left + side, top + side
