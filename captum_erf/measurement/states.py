"""States of an accumulator: reading them, and refusing those that are damaged or belong to something else."""

from __future__ import annotations

import json
from operator import le
from typing import Any

import torch

from ..geometry.field import TheoreticalReceptiveField
from ..geometry.region import Region
from ..result.sums import GroupSums

STATE_VERSION = 2
Unit = tuple[str, TheoreticalReceptiveField | None]


def check_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Refuses sums that do not belong together; a side without samples yet has no entries to compare."""
    pairs = {"version": (ours["version"], theirs["version"])}
    pairs |= {key: (value, theirs["recipe"].get(key)) for key, value in ours["recipe"].items()}
    if ours["entries"] and theirs["entries"]:
        pairs["input_shape"] = (ours["input_shape"], theirs["input_shape"])
        pairs["theoretical receptive fields"] = (ours["entries"], theirs["entries"])
    different = [(key, *pair) for key, pair in pairs.items() if pair[0] != pair[1]]
    if different:
        key, mine, other = different[0]
        raise ValueError(
            f"The sums belong to different measurements: {key} is {mine!r} here and {other!r} there. Only sums of the "
            "same layers, recipe, input size and version can be added."
        )


def check_units(ours: list[Unit], theirs: list[Unit]) -> None:
    """Refuses to add the model's maps to sums of other units, such as those of another model's state."""
    for (layer, before), (_, now) in zip(ours, theirs, strict=True):
        if before != now:
            raise ValueError(
                f"The sums so far are not of this model: the unit of layer {layer!r} had {_field_words(before)} and "
                f"has {_field_words(now)}. Load a state, or merge, only into an accumulator of the model it comes from."
            )


def _field_words(theoretical: TheoreticalReceptiveField | None) -> str:
    if theoretical is None:
        return "no grid"
    return f"a field of size {theoretical.size} around {theoretical.center}"


def read_state(state: dict[str, Any]) -> tuple[dict[str, Any], list[GroupSums]]:
    """The header and the sums of a state; refuses one that is foreign, damaged or of another version."""
    try:
        header = json.loads(state["header"])
        version = header["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"This is no state of an ERFAccumulator: {error!r}.") from error
    if version != STATE_VERSION:
        raise ValueError(
            f"The state has version {version!r}, this captum-erf reads version {STATE_VERSION}; use the captum-erf "
            "that wrote it, or measure again."
        )
    try:
        columns = [state[key] for key in ("sums", "counts", "dead", "offsets", "num_nonfinite")]
        sums = [
            GroupSums(
                total.clone(),
                counts.clone(),
                dead.clone(),
                Region(tuple(offset), tuple(total.shape[1:])),
                int(nonfinite),
            )
            for total, counts, dead, offset, nonfinite in zip(*columns, strict=True)
        ]
        complete = _is_complete(header, sums)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"This is a damaged state of an ERFAccumulator: {error!r}.") from error
    if not complete:
        raise ValueError("This is a damaged state of an ERFAccumulator: its parts do not fit together.")
    return header, sums


def _is_complete(header: dict[str, Any], sums: list[GroupSums]) -> bool:
    """Whether the parts of a state fit together."""
    groups, shape = header["recipe"]["groups"], header["input_shape"]
    signed = header["recipe"]["magnitude"] not in ("abs", "square", "positive")
    return len(sums) == len(header["entries"]) == len(header["routes"]) and all(
        item.sums.shape[:1] == item.counts.shape == item.dead.shape == (groups,)
        and len(item.region.shape) == len(item.region.offset) == len(shape) - 1
        and all(start >= 0 for start in item.region.offset)
        and all(map(le, item.region.stop, shape[1:]))
        and item.num_samples + item.num_nonfinite == header["num_seen"]
        and _is_sound(item, signed)
        and header["num_batches"] >= 0
        for item in sums
    )


def _is_sound(item: GroupSums, signed: bool) -> bool:
    """Whether these can be sums of sample maps, which only a signed magnitude makes negative."""
    return bool(
        torch.isfinite(item.sums).all()
        and (signed or (item.sums >= 0).all())
        and ((item.dead >= 0) & (item.dead <= item.counts)).all()
        and item.num_nonfinite >= 0
    )
