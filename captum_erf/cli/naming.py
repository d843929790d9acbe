"""What the files of a run are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .plan import Case

RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}
LONGEST = 100  # letters of a folder's name


def folder_name(cases: Sequence[Case]) -> str:
    """The default folder's: ``erf-``, the networks, and the weights that tell the run from others."""
    several = len(cases) > 1
    networks = ["-".join([w.short if several else w.name, *w.layers]) for w in (case.wanted for case in cases)]
    weights = [case.label for case in cases if several or case.weights is not None]
    parts = [*dict.fromkeys(networks), *dict.fromkeys(weights)]
    name = "-".join(["erf", *filter(None, map(safe, parts))])
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}...{name[-LONGEST // 2 :]}"


def map_names(layers: Mapping[Case, Sequence[str]]) -> list[str]:
    """``layer4``, or of several networks ``resnet18-random``, with the layer where there are several."""
    if len(layers) == 1:
        return distinct(*layers.values())
    labels = []
    for case, own in layers.items():
        alone = len(own) == 1 and not case.wanted.layers
        labels += [case.stem] if alone else [f"{case.stem}-{layer}" for layer in own]
    return distinct(labels)


def distinct(labels: Iterable[str]) -> list[str]:
    """Names for the labels that every file system takes, each once whatever it makes of capitals."""
    taken: dict[str, int] = {}
    names = []
    for label in labels:
        name = safe(label) or "network"
        taken[name.lower()] = count = taken.get(name.lower(), 0) + 1
        names.append(name if count == 1 else f"{name}-{count}")
    return names


def picture_name(count: int) -> str:
    """The figure's, of so many cases, without its ending."""
    return "models" if count > 1 else "erf"


def state_file(file: Path, case: Case) -> Path:
    """A case's own, where ``--resume`` names one file for several."""
    return file.with_name(f"{file.stem}-{safe(case.stem)}{file.suffix}")


def safe(name: str) -> str:
    """The name with ``-`` for whatever a file system may refuse."""
    plain = re.sub(r"[^\w.]+", "-", name).strip(".-")
    return f"{plain}-" if plain.split(".")[0].lower() in RESERVED else plain
