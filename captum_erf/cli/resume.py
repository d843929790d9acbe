"""A measurement that survives its process: the accumulator's state in a file, written in one piece now and then."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from ..images import Crops
from ..measurement.accumulator import ERFAccumulator

FORMAT = "captum-erf run, version 1"


def load_run(file: Path, run: Mapping[str, Any], accumulator: ERFAccumulator) -> None:
    r"""
    Takes the accumulator, and torch's random numbers, back to where the file's run was.

    Args:
        file (Path): Written by :class:`SavedRun`.
        run (Mapping): What tells this run from others, as plain values.
        accumulator (ERFAccumulator): Of the same measurement, without samples yet.

    Raises:
        ValueError: The file is damaged, no such file, or of another run; it says what differs.
    """
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{file} is no file that --resume wrote, or a damaged one; name another file.") from error
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise ValueError(f"{file} was not written by --resume of this version; name another file.")
    different = [key for key, value in run.items() if stored["run"].get(key) != value]
    if different:
        key = different[0]
        raise ValueError(
            f"{file} belongs to another run: {key} is {stored['run'].get(key)!r} there and {run[key]!r} here. Repeat "
            "that run's options, name another file, or remove it to start afresh."
        )
    try:
        accumulator.load_state_dict(stored["accumulator"])
    except ValueError as error:
        raise ValueError(f"{file} belongs to another run. {error}") from error
    torch.set_rng_state(stored["random"])


class SavedRun:
    """Batches of the crops that the accumulator has not seen; writes its state after every so many of them."""

    def __init__(
        self, crops: Crops, batch_size: int, accumulator: ERFAccumulator, file: Path, run: Mapping[str, Any], every: int
    ) -> None:
        left = Subset(crops, range(accumulator.num_samples, len(crops)))
        self._loader = loader(left, batch_size)
        self._accumulator = accumulator
        self._file = file
        self._run = dict(run)
        self._every = every

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Tensor]:
        for number, batch in enumerate(self._loader, 1):
            yield batch
            if number % self._every == 0 or number == len(self):
                self.write()

    def write(self) -> None:
        """Writes the state beside the file and then puts it in its place, so that a kill leaves the old or the new."""
        state = {
            "format": FORMAT,
            "run": self._run,
            "accumulator": self._accumulator.state_dict(),
            "random": torch.get_rng_state(),
        }
        beside = self._file.with_name(f"{self._file.name}.tmp")
        with beside.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, self._file)


def loader(crops: Dataset[Tensor], batch_size: int) -> DataLoader[Tensor]:
    """Batches in order; starting on them draws none of the random numbers that a stored run counts on."""
    return DataLoader(crops, batch_size, generator=torch.Generator())


def digest(model: nn.Module) -> str:
    """A fingerprint of the model's weights and buffers."""
    found = hashlib.blake2b(digest_size=12)
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        if isinstance(tensor, Tensor):
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
