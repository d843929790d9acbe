"""The page to explore: every unit of a coarse grid of every measured layer, over the photographs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from .. import visualization
from ..erfmap import ERFMap
from .measure import Measured
from .plan import Case, Settings
from .samples import COLOURS, Samples, loader

MOST_SAMPLES = 8  # that the units' mean maps are taken over, each in a group of its own
SHOWN = 3  # images that lie beneath, each also with the map of its own


def write_page(file: Path, *, options: argparse.Namespace, settings: Settings, measured: Sequence[Measured]) -> None:
    """Measures units all over the layers on the first samples, and writes the page."""
    fields: dict[str, list[ERFMap]] = {}
    keywords = settings.keywords | {"positions": "grid", "groups": MOST_SAMPLES, "show_progress": True}
    for found in measured:
        torch.manual_seed(options.seed)
        batches = loader(found.samples, options.batch_size, num_apart(found.samples))
        fields[name_of(found.case)] = found.erf.sweep(batches, **keywords)
    alone = {name: each_alone(own) for name, own in fields.items()}
    visualization.write_page(file, fields, pictures(measured[0].samples), image_fields=alone, show_progress=True)


def num_apart(samples: Samples) -> int:
    """How many of the first samples are taken: no two of one image, unless there is only one image."""
    return min(MOST_SAMPLES, samples.num_images if samples.num_images > 1 else len(samples))


def each_alone(fields: Sequence[ERFMap]) -> list[ERFMap]:
    """The maps over the images that are shown alone: the sums of the first groups, one image in each."""
    sums = ("sums", "counts", "dead", "squares", "prints")
    return [
        replace(field, groups=replace(field.groups, **{key: getattr(field.groups, key)[:shown] for key in sums}))
        for field in fields
        for shown in [min(SHOWN, field.num_samples)]
    ]


def name_of(case: Case) -> str:
    """What the page calls a network with its weights."""
    return f"{case.wanted.short}, {case.label}"


def pictures(samples: Samples) -> dict[str, Tensor]:
    """The images that lie beneath, by their names; of other than colour and grey images the mean over channels."""
    shown = {samples.name_of(number): samples[number] for number in range(min(SHOWN, num_apart(samples)))}
    return {name: image if len(image) in COLOURS else image.mean(0) for name, image in shown.items()}
