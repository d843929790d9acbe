"""A page to explore: point at a unit and see its field over the photograph, in one file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..result.mean_map import MeanMap
from ..result.report import table_cells
from ..result.spreadsheet import spreadsheet
from ..result.sums import Groups
from .atlas import EXPONENT, data_uri, extents, finest_side
from .page_data import SHARES, Model, Unit, describe
from .photographs import bare, levels, name_of

Images = Sequence[Any] | Mapping[str, Any]
Fields = Sequence[MeanMap] | Mapping[str, Sequence[MeanMap]]

LARGEST = 11_500_000  # bytes of the file
MOST_LEVELS = 8_000_000  # of all maps together: a byte each at worst, and four thirds of that in the file
MEANS = 0.75  # their part of these; maps of single images get the rest
PHOTOGRAPH_SIDE = 640  # pixels


def write_page(
    path: str | Path,
    fields: Fields,
    images: Images = (),
    *,
    image_fields: Fields | None = None,
    title: str = "Effective receptive fields",
    show_progress: bool = False,
    executor: Executor | None = None,
) -> Path:
    r"""
    Writes a page to explore the fields of many units: one HTML file that loads nothing and needs no server.

    Pointing at a place of the photograph, or pressing an arrow key, chooses the unit whose cell lies there, and shows
    its map over the photograph, its sizes with their errors, the box that holds a chosen share, and its mass curve
    beside that of the layer's centre unit. The numbers are those of :meth:`ERFMap.summary`; the maps are pictures of 8
    bits on a power scale, and large ones are reduced, single images' maps more than the means, so that the file stays
    below 12 MB.

    Args:
        path (str or Path): The file to write, such as ``"page.html"``; one that is there is replaced.
        fields (Sequence[ERFMap] or dict): What ``sweep(..., positions="grid")`` returned: any units of any layers, maps
            with two axes. Several models side by side: a dict from the model's name to its fields.
        images (Sequence or dict): Photographs to lie beneath, as the network saw them: arrays or tensors ``(H, W)``,
            ``(H, W, 3)`` or ``(3, H, W)``, PIL images or paths. Floats outside [0, 1], such as normalised inputs, are
            stretched from their minimum to their maximum. A dict names them.
        image_fields (Sequence[ERFMap] or dict, optional): The same units measured on these images alone, one image a
            group: ``sweep([batch], positions="grid", groups=len(batch))``. With them the page also shows the map of
            each image by itself.
        title (str): Heading of the page.
        show_progress (bool): Show a tqdm bar over the units, whose summaries take the time.
        executor (concurrent.futures.Executor, optional): Where the summaries are computed, such as a
            ``ProcessPoolExecutor()``.

    Returns:
        *Path* of the file.

    Raises:
        ValueError: There is no field, a map has not two axes or has negative values, or ``image_fields`` do not match
            the fields or the images.

    Examples::

        >>> import tempfile, torch
        >>> from captum_erf import EffectiveReceptiveField
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5, 2), torch.nn.Conv2d(8, 8, 5, 2))
        >>> erf, photographs = EffectiveReceptiveField(model, ["0", "1"]), torch.rand(2, 3, 32, 32)
        >>> fields = erf.sweep([photographs], positions="grid")
        >>> alone = erf.sweep([photographs], positions="grid", groups=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_page(f"{folder}/page.html", fields, photographs, image_fields=alone)
        ...     page.stat().st_size < 12e6
        True
    """
    photographs = [{"name": name, "src": _photograph(image)} for name, image in _named(images)]
    means, singles = _by_model(fields), _by_model(image_fields or {})
    _check(means, singles, len(photographs))
    with tqdm(total=sum(map(len, means.values())), desc="Page", unit="unit", disable=not show_progress) as bar:
        found = {name: _units(own, singles.get(name, ()), executor) for name, own in means.items()}
        models = [Model.of(name, _counted(units, bar)) for name, units in found.items()]
    is_alone = len(models) == 1
    data = {
        "title": title,
        "images": photographs,
        "shares": SHARES,
        "exponent": EXPONENT,
        "columns": [*["model"] * (not is_alone), *table_cells([], [])[0]],
        "csv": spreadsheet([row for model in models for row in model.rows]),
        "models": [model.to_dict(is_alone) for model in models],
    }
    _add_maps(data, models)
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    target = Path(path)
    target.write_text(template.replace("{{data}}", escaped(data), 1), encoding="utf-8", newline="\n")
    return target


def _named(images: Images) -> Iterator[tuple[str, Any]]:
    if isinstance(images, Mapping):
        return ((bare(name), image) for name, image in images.items())
    return ((name_of(image, place), image) for place, image in enumerate(images))


def _photograph(image: Any) -> str:
    picture = Image.fromarray(np.rint(255 * levels(image)).astype(np.uint8))
    picture.thumbnail((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE))
    return data_uri(np.asarray(picture), "JPEG", quality=88)


def _by_model(fields: Fields) -> Mapping[str, Sequence[MeanMap]]:
    return fields if isinstance(fields, Mapping) else {"": fields}


def _check(means: Mapping[str, Sequence[MeanMap]], singles: Mapping[str, Sequence[MeanMap]], num_images: int) -> None:
    if not means or not all(means.values()):
        raise ValueError("There is no field to show; pass the list that sweep returned.")
    for field in _all(means):
        if field.values.ndim != 2:
            raise ValueError(f"The page shows maps with two axes, got {field!r} of {field.values.shape}; use plot.")
        if field.values.min() < 0:
            raise ValueError(f'{field!r} has negative values, which the page does not show; measure magnitude="abs".')
    if singles and not (_units_of(singles) <= _units_of(means) and singles.keys() == means.keys()):
        raise ValueError("image_fields are not of the same units as fields; sweep the same layers and positions.")
    for field in _all(singles):
        if field.groups.counts.tolist() != [1] * num_images:
            raise ValueError(
                f"image_fields must hold one of the {num_images} images in each group, got groups of "
                f"{field.groups.counts.tolist()} samples; sweep one batch of them with groups={num_images}."
            )


def _all(models: Mapping[str, Sequence[MeanMap]]) -> Iterator[MeanMap]:
    return (field for fields in models.values() for field in fields)


def _units_of(models: Mapping[str, Sequence[MeanMap]]) -> set[Any]:
    return {(name, field.layer, field.position) for name, fields in models.items() for field in fields}


def _units(means: Sequence[MeanMap], singles: Sequence[MeanMap], executor: Executor | None) -> Iterator[Unit]:
    """The units with their summaries; a sweep leaves those out that none of its images activates."""
    alone = {(field.layer, field.position): field for field in singles}
    nothing = _nothing(singles[0].groups) if singles else None
    dead = [None if nothing is None else replace(mean, groups=nothing) for mean in means]
    own = [alone.get((mean.layer, mean.position), other) for mean, other in zip(means, dead, strict=True)]
    told = (executor.map if executor else map)(describe, means, own)
    for mean, single, (row, words) in zip(means, own, told, strict=True):
        yield Unit(mean, single, row, words)


def _counted(units: Iterator[Unit], bar: Any) -> Iterator[Unit]:
    for unit in units:
        yield unit
        bar.update()


def _nothing(groups: Groups) -> Groups:
    """The same samples, all dead."""
    return replace(groups, sums=np.zeros_like(groups.sums), dead=groups.counts)


def _add_maps(data: dict[str, Any], models: Sequence[Model]) -> None:
    """The maps of all units, as fine as the file's size allows."""
    levels = min(MOST_LEVELS, 0.74 * (LARGEST - len(json.dumps(data))))
    shapes = [extents(unit.mean.values) for model in models for unit in model.units]
    sides = finest_side(shapes, MEANS * levels), finest_side(shapes * len(data["images"]), (1 - MEANS) * levels)
    for drawn, model in zip(data["models"], models, strict=True):
        for entry, layer in zip(drawn["layers"], model.layers, strict=True):
            entry["atlases"] = layer.atlases(*sides)


def escaped(data: dict[str, Any]) -> str:
    """JSON that can stand in a script element: whatever its strings hold, none of them ends it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
