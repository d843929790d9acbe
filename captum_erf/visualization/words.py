"""What figures say: names that fit their place, and captions that stand alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from ..result.mean_map import MeanMap
from ..result.report import channel_words, magnitude_words
from ..text import box_size, listed, times

UNBROKEN = re.compile(r"\(?\d+(?:(?: x |, )\d+)+\S*|\d+ %\S*|± \S+|\S+")  # words, and what is never cut by a line's end


def unit_words(field: MeanMap) -> str:
    """The unit: ``layer4, unit (3, 3) of 7 x 7``."""
    return layer_name(field) if field.position is None else f"{layer_name(field)}, {_unit_of(field)}"


def _unit_of(field: MeanMap) -> str:
    return f"unit {_place(field)} of {times(field.grid or ())}"


def _place(field: MeanMap) -> str:
    place = ", ".join(map(str, field.position or ()))
    return f"({place})" if len(field.position or ()) > 1 else place


def layer_name(field: MeanMap) -> str:
    """The layer's name; ``layer 5`` where it is only a number."""
    return f"layer {field.layer}" if field.layer.isdigit() else field.layer or "the network"


def layer_names(fields: Sequence[MeanMap]) -> list[str]:
    """Names of the layers, with the unit where a layer occurs more than once."""
    layers = [layer_name(field) for field in fields]
    return [
        f"{layer} {_place(field)}".rstrip() if layers.count(layer) > 1 else layer
        for layer, field in zip(layers, fields, strict=True)
    ]


def model_name(field: MeanMap) -> str:
    """The network's name; of a class, its last part."""
    name = str(field.recipe.get("model") or "the network")
    return name if "/" in name or ":" in name else name.rsplit(".", 1)[-1]


def weights_name(field: MeanMap) -> str | None:
    """The weights in few words; None where the recipe does not tell."""
    weights = field.recipe.get("weights")
    return None if weights is None else str(weights).split(", not ")[0]


def shortened(name: str, width: float, size: float) -> str:
    """The name with the middle of its lines left out where they are too wide: ``stages.3.b…attn.proj``."""
    return "\n".join(_shortened(line, width, size) for line in name.splitlines())


def _shortened(line: str, width: float, size: float) -> str:
    short, kept = line, len(line)
    while text_width(short, size) > width and kept > 4:
        kept -= 1
        short = f"{line[: kept // 2]}…{line[len(line) - (kept - kept // 2) :]}"
    return short


def fitting(names: Sequence[str], width: float, size: float) -> list[str]:
    """The names within a width in inches: without what all have in common at their ends, then without their middles.

    Where that makes two names the same, all are numbered.
    """
    if max(text_width(name, size) for name in names) > width:
        names = _without_common_ends(names)
    short = [shortened(name, width, size) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    return [f"{n} {shortened(name, width - text_width(f'{n} ', size), size)}" for n, name in enumerate(names, 1)]


def _without_common_ends(names: Sequence[str]) -> list[str]:
    pieces = [name.split(".") for name in names]
    for end, rest in ((-1, slice(None, -1)), (0, slice(1, None))):
        while min(map(len, pieces)) > 1 and len({piece[end] for piece in pieces}) == 1 < len(pieces):
            pieces = [piece[rest] for piece in pieces]
    return [".".join(piece) for piece in pieces]


def text_width(text: str, size: float) -> float:
    """Width in inches of the longest line at a font size in points, with room for the hinting of small letters."""
    font = FontProperties(size=size)
    lines = (text_to_path.get_text_width_height_descent(line, font, ismath=False) for line in text.splitlines())
    return 1.07 * max((float(width) for width, _, _ in lines), default=0.0) / 72


def wrapped(text: str, width: float, size: float) -> str:
    """The text in lines of a width in inches at a font size in points."""
    lines = [""]
    for word in UNBROKEN.findall(text):
        longer = f"{lines[-1]} {word}".lstrip()
        if text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(filter(None, lines))


def title_of(fields: Sequence[MeanMap]) -> str:
    """The title of several maps: of which network, where all are of one."""
    models = {model_name(field) for field in fields if field.recipe.get("model")}
    return f"Effective receptive fields of {models.pop()}" if len(models) == 1 else "Effective receptive fields"


def caption(fields: Sequence[MeanMap], *sentences: str) -> str:
    """What was measured, on what and how it is drawn: enough to read the figure by itself."""
    return " ".join([_subject(fields), _measured(fields), *filter(None, sentences)])


def _subject(fields: Sequence[MeanMap]) -> str:
    models = list(dict.fromkeys(map(model_name, fields)))
    weights = each(weights_name(field) for field in fields)
    if len(models) == 1:
        return f"{models[0]}{weights and f', weights {weights}'}: {_units(fields)}."
    units = dict.fromkeys(f"{model_name(field)} {unit_words(field)}" for field in fields)
    return f"{'; '.join(units)}{weights and f'; weights {weights}'}."


def _units(fields: Sequence[MeanMap]) -> str:
    if len({field.layer for field in fields}) > 4:
        return f"{len(fields)} layers, {each(_unit(field) for field in fields if field.position is not None)}"
    return "; ".join(dict.fromkeys(map(unit_words, fields)))


def _unit(field: MeanMap) -> str:
    central = field.position == tuple(length // 2 for length in field.grid or ())
    return "the centre unit of each" if central else _unit_of(field)


def _measured(fields: Sequence[MeanMap]) -> str:
    what = each(magnitude_words(field.recipe) for field in fields)
    samples = each(str(field.num_samples) for field in fields)
    pixel = each(field.recipe.get("spacing") for field in fields)
    return (
        f"{what[0].upper()}{what[1:]} over {samples} samples ({_images(fields)}); "
        f"y: {each(channel_words(field.recipe) for field in fields)}.{pixel and f' A pixel is {pixel}.'}"
    )


def _images(fields: Sequence[MeanMap]) -> str:
    """What the samples are of, as the command line records it, else their size."""
    return each(str(field.recipe.get("images") or f"of {times(field.values.shape)}") for field in fields)


def each(words: Iterable[str | None]) -> str:
    """The distinct ones as a list in words."""
    *first, last = [*dict.fromkeys(word for word in words if word)] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def trf_words(field: MeanMap) -> str:
    """The theoretical field, and how much of it lies outside the picture."""
    size = _trf_size(field)
    if size is None:
        return "no theoretical field"
    return f"theoretical field{':' if size == 'global' else ''} {size}{_outside(field, ' of it outside the input')}"


def trf_short(field: MeanMap) -> str:
    """The theoretical field in two or three words."""
    size = _trf_size(field)
    return "no TRF" if size is None else f"TRF {size}{_outside(field, ' outside')}"


def _trf_size(field: MeanMap) -> str | None:
    trf = field.theoretical
    if trf is None:
        return None
    return "global" if trf.is_global else f"{box_size(trf, short=True)} px"


def _outside(field: MeanMap, words: str) -> str:
    trf = field.theoretical
    share = 0.0 if trf is None or trf.is_global else trf.outside or 0.0
    return f", {100 * share:.0f} %{words}" if share >= 0.005 else ""


def center_words(field: MeanMap) -> str:
    return f"unit centre ({listed(field.center)})"
