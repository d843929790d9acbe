"""The page to explore: every unit of a coarse grid of every measured layer, over the photographs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .. import visualization
from ..erfmap import ERFMap
from .measure import Measured
from .plan import Case, Settings
from .samples import COLOURS, Samples, loader, numbers_of

MOST_SAMPLES = 8  # that the units' mean maps are taken over
SHOWN = 3  # images that lie beneath


def write_page(file: Path, *, options: argparse.Namespace, settings: Settings, measured: Sequence[Measured]) -> None:
    """Measures units all over the layers on the first samples, and writes the page."""
    fields: dict[str, list[ERFMap]] = {}
    alone: dict[str, list[ERFMap]] = {}
    keywords = settings.keywords | {"positions": "grid", "get_groups": numbers_of, "show_progress": True}
    for found in measured:
        name, samples = name_of(found.case), found.samples
        torch.manual_seed(options.seed)
        fields[name] = found.erf.sweep(loader(samples, options.batch_size, MOST_SAMPLES), **keywords)
        torch.manual_seed(options.seed)
        alone[name] = found.erf.sweep(loader(samples, options.batch_size, SHOWN), groups=SHOWN, **keywords)
    visualization.write_page(file, fields, pictures(measured[0].samples), image_fields=alone, show_progress=True)


def name_of(case: Case) -> str:
    """What the page calls a network with its weights."""
    return f"{case.wanted.short}, {case.label}"


def pictures(samples: Samples) -> dict[str, Tensor]:
    """The images that lie beneath, by their names; of other than colour and grey images the mean over channels."""
    shown = {samples.name_of(number): samples[number] for number in range(min(SHOWN, len(samples)))}
    return {name: image if len(image) in COLOURS else image.mean(0) for name, image in shown.items()}
