"""A page to explore: point at a unit and see its field over the photograph, in one file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..erfmap import ERFMap
from .atlas import EXPONENT, data_uri, finest_side
from .page_data import COLUMNS, SHARES, Model, Unit, spreadsheet
from .photographs import bare, name_of, pixels

Images = Sequence[Any] | Mapping[str, Any]
Fields = Sequence[ERFMap] | Mapping[str, Sequence[ERFMap]]

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
        >>> positions = [(i, j) for i in range(5) for j in range(5)]
        >>> fields = erf.sweep([photographs], positions=positions)
        >>> alone = erf.sweep([photographs], positions=positions, groups=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_page(f"{folder}/page.html", fields, photographs, image_fields=alone)
        ...     page.stat().st_size < 12e6
        True
    """
    photographs = [{"name": name, "src": _photograph(image)} for name, image in _named(images)]
    means, singles = _by_model(fields), _by_model(image_fields or {})
    _check(means, singles, len(photographs))
    with tqdm(total=sum(map(len, means.values())), desc="Page", unit="unit", disable=not show_progress) as bar:
        models = [Model.of(name, _units(own, singles.get(name), bar)) for name, own in means.items()]
    data = {
        "title": title,
        "images": photographs,
        "shares": SHARES,
        "exponent": EXPONENT,
        "mean": f"mean of {models[0].units[0].mean.num_samples} samples",
        "columns": ["model"] * any(model.name for model in models) + COLUMNS,
        "csv": spreadsheet(models),
        "models": [model.to_dict() for model in models],
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
    picture = Image.fromarray(pixels(image))
    picture.thumbnail((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE))
    return data_uri(np.asarray(picture), "JPEG", quality=88)


def _by_model(fields: Fields) -> Mapping[str, Sequence[ERFMap]]:
    return fields if isinstance(fields, Mapping) else {"": fields}


def _check(means: Mapping[str, Sequence[ERFMap]], singles: Mapping[str, Sequence[ERFMap]], num_images: int) -> None:
    if not all(means.values()) or not means:
        raise ValueError("There is no field to show; pass the list that sweep returned.")
    for field in (field for fields in means.values() for field in fields):
        if field.values.ndim != 2:
            raise ValueError(
                f"The page shows maps with two axes, got {field!r} of shape {field.values.shape}; see plot."
            )
        if field.values.min() < 0:
            raise ValueError(f'{field!r} has negative values, which the page does not show; measure magnitude="abs".')
    if singles and {name: _names(fields) for name, fields in means.items()} != {
        name: _names(fields) for name, fields in singles.items()
    }:
        raise ValueError("image_fields are not of the same units as fields; sweep the same layers and positions.")
    for field in (field for fields in singles.values() for field in fields):
        if field.group_counts.tolist() != [1] * num_images:
            raise ValueError(
                f"image_fields must hold one of the {num_images} images in each group, got groups of "
                f"{field.group_counts.tolist()} samples; sweep one batch of them with groups={num_images}."
            )


def _names(fields: Sequence[ERFMap]) -> list[tuple[str, tuple[int, ...] | None]]:
    return [(field.layer, field.position) for field in fields]


def _units(means: Sequence[ERFMap], singles: Sequence[ERFMap] | None, bar: Any) -> Iterator[Unit]:
    for mean, single in zip(means, singles or repeat(None, len(means)), strict=True):
        yield Unit(mean, mean.summary(), single)
        bar.update()


def _add_maps(data: dict[str, Any], models: Sequence[Model]) -> None:
    """The maps of all units, as fine as the file's size allows."""
    levels = min(MOST_LEVELS, 0.74 * (LARGEST - len(json.dumps(data))))
    units = [unit for model in models for unit in model.units]
    shapes, shapes_alone = ([unit.extents for unit in units] * times for times in (1, units[0].num_images))
    sides = finest_side(shapes, MEANS * levels), finest_side(shapes_alone, (1 - MEANS) * levels)
    for drawn, model in zip(data["models"], models, strict=True):
        for entry, layer in zip(drawn["layers"], model.layers, strict=True):
            entry["atlases"] = layer.atlases(*sides)


def escaped(data: dict[str, Any]) -> str:
    """JSON that can stand in a script element: whatever its strings hold, none of them ends it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
