"""Crops of images as a data set: of matplotlib's sample photograph, or of a folder of one's own."""

from __future__ import annotations

import functools
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .text import counted, times

if TYPE_CHECKING:
    from PIL.Image import Image

Channels = tuple[float, ...]
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the image

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
PHOTOGRAPH = "grace_hopper.jpg"
CROP_SIDES = (0.3, 0.7)  # of random crops, as shares of the largest crop that the image holds
NUM_SAMPLES = 32
NAMED_FILES = 10  # up to which a message names files one by one


class NoImagesError(ValueError):
    """A folder without a readable image."""


@dataclass(frozen=True)
class Look:
    r"""
    How a network wants its images.

    Attributes:
        size (tuple[int, int]): Height and width in pixels.
        mean (tuple[float, ...]), std (tuple[float, ...]): Normalisation, three numbers for colour and one for grey.
    """

    size: tuple[int, int] = (224, 224)
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD

    def in_grey(self) -> Look:
        """The same for a network that takes one channel."""
        return Look(self.size, (fmean(self.mean),), (fmean(self.std),))

    def __str__(self) -> str:
        return times(self.size)


CUTS = {"center": "from the middle", "random": "at random places and scales", "resize": "of the whole image, resized"}


def _place(cut: str, image: tuple[int, int], look: Look, short_side: int | None, draw: random.Random) -> Box:
    """Where an image of a width and height is cut."""
    if cut == "resize":
        return 0, 0, *image
    height, width = look.size
    if short_side:  # a pixel of the box is one of the look's, once the shorter side is scaled
        scale = min(image) / short_side
        box = width * scale, height * scale
    else:  # the largest box of the look's shape, or a share of it
        share = draw.uniform(*CROP_SIDES) if cut == "random" else 1.0
        largest = min(image[0], image[1] * (width / height)), min(image[1], image[0] * (height / width))
        box = share * largest[0], share * largest[1]
    rests = (max(0, whole - part) for whole, part in zip(image, box, strict=True))
    left, top = (draw.uniform(0, rest) if cut == "random" else rest / 2 for rest in rests)
    return left, top, min(left + box[0], image[0]), min(top + box[1], image[1])


@dataclass(frozen=True)
class Crops(Dataset[Tensor]):
    r"""
    Crops of images, normalised per channel, of shape ``(channels, *look.size)``.

    A crop's place depends on ``seed`` and its number alone, so that the same crops come back in whatever order they
    are asked for, and for every look: ``dataclasses.replace(crops, look=...)`` is the same crops for another network.

    Attributes:
        files (tuple[Path, ...]): The images, taken in turn.
        num_samples (int): Number of crops.
        source (str): What the images are.
        look (Look): Size and normalisation.
        seed (int): Of random crops.
        cut (str): ``"center"``, ``"random"`` or ``"resize"``; None takes the middle of each image first, and random
            crops once all images were taken.
        short_side (int): Pixels to which an image's shorter side is scaled first; None fits the crop to the image.
    """

    files: tuple[Path, ...]
    num_samples: int
    source: str
    look: Look = Look()
    seed: int = 0
    cut: str | None = None
    short_side: int | None = None

    def __post_init__(self) -> None:
        if self.cut not in (None, *CUTS):
            raise ValueError(f"cut must be one of {', '.join(CUTS)}, got {self.cut!r}.")
        if self.cut in ("center", "resize") and self.num_samples > len(self.files):
            raise ValueError(
                f"The cut {self.cut!r} gives one crop of each of {counted(len(self.files), 'image')}, and "
                f"{self.num_samples} were asked for; ask for fewer, or take random ones."
            )
        if self.short_side is not None and self.cut == "resize":
            raise ValueError("A short side and the cut 'resize', which has none, were both asked for; drop one.")
        if self.short_side is not None and self.short_side < max(self.look.size):
            raise ValueError(
                f"Images with a shorter side of {self.short_side} hold no crop of {self.look}; take a short side of "
                f"{max(self.look.size)} or more."
            )

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, number: int) -> Tensor:
        if not 0 <= number < self.num_samples:
            raise IndexError(f"crop {number} is outside the {self.num_samples} crops.")
        look, image = self.look, read_image(self.files[self.image_of(number)])
        cut = self.cut or ("center" if number < len(self.files) else "random")
        box = _place(cut, image.size, look, self.short_side, random.Random(f"{self.seed} {number}"))
        image = image if len(look.mean) == 3 else image.convert("L")
        pixels = np.asarray(image.resize(look.size[::-1], box=box), dtype=np.float32) / 255
        mean, std = (np.array(values, dtype=np.float32) for values in (look.mean, look.std))
        normal = (pixels.reshape(*look.size, len(look.mean)) - mean) / std
        return torch.from_numpy(normal).movedim(-1, 0).contiguous()

    def image_of(self, number: int) -> int:
        """Which of the images a crop is of."""
        return number % len(self.files)

    def name_of(self, number: int) -> str:
        """The file that a crop is of, with the crop's number where there are more crops than files."""
        file = self.files[self.image_of(number)]
        return str(file) if self.num_samples <= len(self.files) else f"{file}, crop {number + 1}"

    @property
    def num_images(self) -> int:
        """How many images there are crops of."""
        return min(len(self.files), self.num_samples)

    @property
    def words(self) -> str:
        """What the crops are."""
        return f"{counted(self.num_samples, 'crop')} of {self.look}{self._place()}"

    def _place(self) -> str:
        images = f"{counted(self.num_images, 'image')} from {self.source}"
        cut = "" if self.cut is None else f", {CUTS[self.cut]}"
        if len(self.files) == 1 and self.cut is not None:
            return f"{cut}, of {self.source}"
        if self.num_samples <= len(self.files):
            return f"{cut}, one of each of {images}"
        return f"{cut} of only {images}"


def photograph(
    num_samples: int = NUM_SAMPLES,
    *,
    size: int | tuple[int, int] = 224,
    seed: int = 0,
    mean: Channels = IMAGENET_MEAN,
    std: Channels = IMAGENET_STD,
    cut: str | None = "random",
    short_side: int | None = None,
) -> Crops:
    r"""
    Random crops of the photograph that matplotlib ships, Grace Hopper's portrait by the U.S. Navy; no download.

    Args:
        num_samples (int): Number of crops.
        size, seed, mean, std, cut, short_side: As in :func:`folder`.

    Examples::

        >>> crops = photograph(4, size=32)
        >>> len(crops), crops[0].shape
        (4, torch.Size([3, 32, 32]))
    """
    from matplotlib.cbook import get_sample_data

    file = Path(get_sample_data(PHOTOGRAPH, asfileobj=False))
    look = Look(_pair(size), mean, std)
    return Crops((file,), num_samples, f"matplotlib's {PHOTOGRAPH}", look, seed, cut, short_side)


def folder(
    path: str | Path,
    num_samples: int | None = None,
    *,
    size: int | tuple[int, int] = 224,
    seed: int = 0,
    mean: Channels = IMAGENET_MEAN,
    std: Channels = IMAGENET_STD,
    cut: str | None = None,
    short_side: int | None = None,
) -> Crops:
    r"""
    Crops of the images in a folder and the folders below it.

    The images are taken in a random order, one central crop each. Where more crops are asked for than there are images,
    the rest are random crops of the same images, which are not independent samples: name each crop's image with
    ``get_groups`` (:meth:`Crops.image_of`), so that standard errors are over images.

    Gray images of 16 bits are read with 65535 as white. Those of 32-bit integers or floats (Pillow's modes ``I`` and
    ``F``) do not tell what white is, and are skipped.

    Args:
        path (str or Path): The folder; labels are not needed.
        num_samples (int, optional): Number of crops; None means one of each image, 32 at most.
        size (int or tuple[int, int]): Height and width of the crops in pixels, one number for squares.
        seed (int): Of the order and the crops.
        mean, std (tuple): Normalisation per channel, ImageNet's unless given; one number each makes the images grey.
        cut (str, optional): ``"center"``, ``"random"`` or ``"resize"`` for all crops.
        short_side (int, optional): Scale the shorter side of every image to this before its crop is taken, as
            torchvision's ``Resize`` before ``CenterCrop``.

    Raises:
        NotADirectoryError: There is no such folder.
        NoImagesError: No file in it can be read as an image.
        ValueError: The cut is none of the three, or the short side does not go with it or with the size.

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
            f"{root} holds no image that can be read, among {counted(len(files), 'file')}; expected a folder of "
            "JPEG, PNG or other images, in folders of its own or not."
        )
    look = Look(_pair(size), mean, std)
    return Crops(tuple(found), num_samples or len(found), str(root), look, seed, cut, short_side)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


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
            read_image(file)
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
def read_image(file: Path) -> Image:
    """A file's image, upright, in red, green and blue of 8 bits."""
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
