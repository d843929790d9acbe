"""Which group of the jackknife a sample belongs to, and how it is known again."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from ..result.sums import fingerprints


@dataclass
class Numbering:
    """
    Gives every sample the group of its running number, or of its image's, modulo the number of groups.

    Attributes:
        groups (int): How many there are.
        numbered (int): Samples, or images, that have a number.
        images (dict): Number of each image by its name; empty where samples are numbered.

    Examples::

        >>> crops = Numbering(10)
        >>> crops.add(["cat", "dog", "cat"]), crops.add(["owl"])
        (tensor([0, 1, 0]), tensor([2]))
    """

    groups: int
    numbered: int = 0
    images: dict[str, int] = field(default_factory=dict)

    def add(self, names: Sequence[str] | int) -> Tensor:
        """The groups of the next samples, given as names of their images or as how many there are."""
        if isinstance(names, int):
            numbers = torch.arange(self.numbered, self.numbered + names)
            self.numbered += names
            return numbers % self.groups
        for name in names:
            if name not in self.images:
                self.images[name] = self.numbered
                self.numbered += 1
        return torch.tensor([self.images[name] for name in names], dtype=torch.int64) % self.groups

    def go_back_to(self, numbered: int) -> None:
        """Takes back all numbers from that one on."""
        self.numbered = numbered
        self.images = {name: number for name, number in self.images.items() if number < numbered}

    def append(self, other: dict[str, Any]) -> int:
        """
        Goes on with the numbers of another one's header, moved on by the number that is returned.

        It is as if the other's samples came after these. An image that both have seen keeps its group where there is
        a move that lets all such images keep theirs, as there is for two that see the same images in the same order;
        otherwise a warning says that errors are too small.
        """
        images = other["images"]
        moves = {(self.images[name] - images[name]) % self.groups for name in images.keys() & self.images.keys()}
        move = self.numbered
        if len(moves) == 1:
            move -= (self.numbered - moves.pop()) % self.groups
        elif moves:
            warnings.warn(
                "Crops of one image were summed up apart and stand in several groups, so that standard errors may be "
                "too small. Let each accumulator or rank see all crops of its images.",
                stacklevel=4,
            )
        self.images = {name: move + number for name, number in images.items()} | self.images
        self.numbered = max(self.numbered, move + other["numbered"])
        return move

    @property
    def header(self) -> dict[str, Any]:
        """What goes on with it, ready for JSON."""
        return {"numbered": self.numbered, "images": self.images}


def prints(samples: Tensor, names: Sequence[str] | int) -> Tensor:
    """Fingerprints of samples: of their images' names where they have any, else of their values."""
    if isinstance(names, int):
        return fingerprints(samples)
    digests = [blake2b(name.encode(), digest_size=7).digest() for name in names]
    return torch.tensor([int.from_bytes(digest, "big") | 1 for digest in digests], dtype=torch.int64)
