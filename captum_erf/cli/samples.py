"""What a network is measured on: crops of images, arrays of one's own, or noise where there is neither."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .. import images
from ..images import NUM_SAMPLES, Crops, Look
from ..text import counted, times
from .plan import Case, Settings

COLOURS = (1, 3)  # channels of photographs


class Own(Dataset[Tensor]):
    """Samples each of which is an image of its own."""

    num_samples: Any

    def __len__(self) -> int:
        return int(self.num_samples)

    def image_of(self, number: int) -> int:
        return number

    @property
    def num_images(self) -> int:
        return len(self)


@dataclass(frozen=True)
class Noise(Own):
    """Samples of standard normal noise, where there is no image that would do."""

    num_samples: int
    shape: tuple[int, ...]
    seed: int = 0
    files: tuple[Path, ...] = ()

    def __getitem__(self, number: int) -> Tensor:
        generator = np.random.default_rng([self.seed, number])
        return torch.from_numpy(generator.standard_normal(self.shape, dtype=np.float32))

    def name_of(self, number: int) -> str:
        return f"noise {number + 1}"

    @property
    def words(self) -> str:
        return f"{counted(self.num_samples, 'sample')} of noise, {times(self.shape)}; --data takes .npy arrays"


@dataclass(frozen=True)
class Arrays(Own):
    """The middle of arrays of shape ``(C, *size)``, or ``size`` where C is 1, in ``.npy`` files; values as they are."""

    files: tuple[Path, ...]
    shape: tuple[int, ...]
    source: str

    @property
    def num_samples(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Tensor:
        file = self.files[number]
        try:
            array: NDArray[np.generic] = np.load(file, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{file} holds no array that can be read without pickle: {error}") from error
        if array.ndim == len(self.shape) - 1 and self.shape[0] == 1:
            array = array[None]
        fits = array.ndim == len(self.shape) and array.shape[0] == self.shape[0]
        if not fits or any(own < wanted for own, wanted in zip(array.shape, self.shape, strict=True)):
            raise ValueError(f"{file} has shape {array.shape}; expected {self.shape} (C, *size) or a larger size.")
        starts = [(own - wanted) // 2 for own, wanted in zip(array.shape, self.shape, strict=True)]
        middle = array[tuple(slice(start, start + wanted) for start, wanted in zip(starts, self.shape, strict=True))]
        return torch.from_numpy(np.array(middle, dtype=np.float32))

    def name_of(self, number: int) -> str:
        return str(self.files[number])

    @property
    def words(self) -> str:
        return f"{counted(len(self.files), 'array')} of {times(self.shape)} from {self.source}, values as they are"


Samples = Crops | Noise | Arrays


@dataclass(frozen=True)
class Grouped(Dataset[tuple[Tensor, int]]):
    """Samples from ``first`` on, with the number of what each is of: its image, or of a single one itself."""

    samples: Samples
    first: int = 0

    def __len__(self) -> int:
        return len(self.samples) - self.first

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        number = self.first + place
        return self.samples[number], self.samples.image_of(number) if self.samples.num_images > 1 else number


def loader(samples: Samples, batch_size: int, first: int = 0) -> DataLoader[tuple[Tensor, int]]:
    """Batches of the samples from the first on; drawing none of the random numbers that a stored run counts on."""
    return DataLoader(Grouped(samples, first), batch_size, generator=torch.Generator())


@dataclass(frozen=True)
class Watched:
    """Batches, after each of which something is done with its number, from 1 on."""

    batches: DataLoader[Any]
    then: Callable[[int], None]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self.batches, 1):
            yield batch
            self.then(number)


def numbers_of(batch: Sequence[Tensor]) -> Tensor:
    """What the samples of a batch are of, as :class:`Grouped` gives it."""
    return batch[1]


def independent_words(samples: Samples, used: int) -> str | None:
    """Over what the standard errors run, in words; None where each image counts once, however many crops are of it."""
    if isinstance(samples, Crops):
        return f"{counted(used, 'crop')} of 1 photograph" if samples.num_images == 1 else None
    return counted(used, "sample")


def make_samples(settings: Settings, cases: Sequence[Case]) -> list[Samples]:
    """For every network its samples: the same images, crops and order for all, prepared for each in its own way."""
    options, crops, found = settings.options, None, list[Samples]()
    arrays = [] if options.data is None else sorted(options.data.rglob("*.npy"))
    for case in cases:
        shape, look = case.shape, case.found.look
        if arrays:
            found.append(_arrays(options, arrays, shape))
        elif len(shape) == 3 and shape[0] in COLOURS:
            wanted = replace(look if shape[0] == len(look.mean) else look.in_grey(), size=(shape[1], shape[2]))
            crops = _crops(options, wanted) if crops is None else replace(crops, look=wanted)
            found.append(crops)
        else:
            found.append(_noise(options, shape))
    return found


def _arrays(options: argparse.Namespace, files: Sequence[Path], shape: tuple[int, ...]) -> Arrays:
    wanted = options.num_samples or min(NUM_SAMPLES, len(files))
    if wanted > len(files):
        raise ValueError(f"--num-samples {wanted}: {options.data} holds {counted(len(files), 'array')}.")
    return Arrays(tuple(files[:wanted]), shape, str(options.data))


def _noise(options: argparse.Namespace, shape: tuple[int, ...]) -> Noise:
    if options.data is not None:
        raise ValueError(
            f"--data {options.data} holds no .npy files, and images do not go with a network that takes "
            f"{times(shape)} (channels first)."
        )
    return Noise(options.num_samples or NUM_SAMPLES, shape, options.seed)


def _crops(options: argparse.Namespace, look: Look) -> Crops:
    given: dict[str, Any] = {"size": look.size, "mean": look.mean, "std": look.std}
    given |= {"seed": options.seed, "short_side": options.short_side}
    if options.data is not None:
        return images.folder(options.data, options.num_samples, cut=options.crop, **given)
    cut = options.crop or "random"
    return images.photograph(options.num_samples or (NUM_SAMPLES if cut == "random" else 1), cut=cut, **given)
