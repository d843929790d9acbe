"""A measurement that survives its process: the accumulator's state in a file, written in one piece now and then."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..measurement.accumulator import ERFAccumulator
from .samples import Samples

FORMAT = "captum-erf run, version 2"
WORDS = {  # what tells a run from another, as "it ..., this run ..."
    "layers": ("measured {}", "asks for {}"),
    "model": ("measured the model {}", "asks for {}"),
    "weights": ("had other weights", "has those that are here now"),
    "input": ("took inputs of {}", "takes {}"),
    "samples": ("was over {}", "is over {}"),
    "files": ("saw the images before they were changed", "sees them as they are now"),
    "position": ("measured the unit {}", "asks for {}"),
    "channel": ("took the channels {}", "takes {}"),
}


def _difference(stored: Mapping[str, Any], run: Mapping[str, Any]) -> str | None:
    """The first difference from a stored run, in words; None where there is none."""
    for key, value in run.items():
        if stored.get(key) != value:
            there, here = WORDS.get(key, (f"had --{key} {{}}", "has {}"))
            return f"it {there.format(_words(stored.get(key)))}, this run {here.format(_words(value))}"
    return None


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


@dataclass(frozen=True)
class SavedRun:
    """The file of a run's state, and what tells the run from another, beside what the accumulator knows."""

    file: Path
    run: Mapping[str, Any]

    def load(self, accumulator: ERFAccumulator) -> bool:
        """
        Takes the accumulator, and torch's random numbers, back to where the file's run was, if there is one.

        Raises:
            ValueError: The file is damaged, no such file, or of another run; it says what differs.
        """
        if not self.file.exists():
            return False
        try:
            stored = torch.load(self.file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"{self.file} is no file that --resume wrote, or a damaged one; name another file."
            ) from error
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise ValueError(f"{self.file} was not written by --resume of this version; name another file.")
        difference = _difference(stored["run"], self.run)
        if difference:
            raise ValueError(
                f"{self.file} belongs to another run: {difference}. Repeat that run's options, name another file, or "
                "remove it to start afresh."
            )
        try:
            accumulator.load_state_dict(stored["accumulator"])
        except ValueError as error:
            raise ValueError(f"{self.file} belongs to another run. {error}") from error
        torch.set_rng_state(stored["random"])
        return True

    def write(self, accumulator: ERFAccumulator) -> None:
        """Writes the state beside the file and then puts it in its place, so that a kill leaves the old or the new."""
        state = {
            "format": FORMAT,
            "run": dict(self.run),
            "accumulator": accumulator.state_dict(),
            "random": torch.get_rng_state(),
        }
        beside = self.file.with_name(f"{self.file.name}.tmp")
        with beside.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, self.file)


def digest(model: nn.Module) -> str:
    """A fingerprint of the model's weights and buffers."""
    found = hashlib.blake2b(digest_size=12)
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        if isinstance(tensor, Tensor):
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def stamp(samples: Samples) -> str:
    """A fingerprint of the samples, and of the files that they are read from."""
    stamps = [(stat.st_size, stat.st_mtime_ns) for stat in map(os.stat, samples.files)]
    return hashlib.blake2b(repr((samples, stamps)).encode(), digest_size=12).hexdigest()
