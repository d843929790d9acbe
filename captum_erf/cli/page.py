"""The page to explore: every unit of a coarse grid of every measured layer, over the photographs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from .. import visualization
from ..erfmap import ERFMap
from .measure import Measured
from .plan import Settings
from .resume import loader
from .samples import numbers_of

MOST_SAMPLES = 8  # that the units' mean maps are taken over
SHOWN = 3  # images that lie beneath


def write_page(file: Path, *, options: argparse.Namespace, settings: Settings, measured: Sequence[Measured]) -> None:
    """Measures units all over the layers on the first samples, and writes the page."""
    fields: dict[str, list[ERFMap]] = {}
    alone: dict[str, list[ERFMap]] = {}
    keywords = settings.keywords | {"positions": "grid", "get_groups": numbers_of}
    for found in measured:
        name = f"{found.case.wanted.short}, {found.case.label}"
        torch.manual_seed(options.seed)
        few, shown = (range(min(number, len(found.samples))) for number in (MOST_SAMPLES, SHOWN))
        batches = loader(found.samples, few, options.batch_size)
        fields[name] = found.erf.sweep(batches, show_progress=True, **keywords)
        alone[name] = found.erf.sweep(loader(found.samples, shown, SHOWN), groups=SHOWN, **keywords)
    samples = measured[0].samples
    images = [samples[number] for number in range(min(SHOWN, len(samples)))]
    visualization.write_page(file, fields, images, image_fields=alone, show_progress=True)
