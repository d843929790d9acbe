"""States of an accumulator as plain values: reading them, and refusing those of another measurement or version."""

from __future__ import annotations

import json
import math
from typing import Any

import torch

from ..geometry.field import TheoreticalReceptiveField
from ..geometry.region import Region
from ..result.sums import BY_GROUP, GroupSums
from .recipe import check_same

STATE_VERSION = 3


def check_headers(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Refuses sums that do not belong together; a side without samples yet has no size and no units to compare."""
    check_same({"version": ours["version"], **ours["recipe"]}, {"version": theirs["version"], **theirs["recipe"]})
    if ours["entries"] and theirs["entries"]:
        seen = ("input_shape", "theoretical receptive fields")
        check_same(*(dict(zip(seen, (side["input_shape"], side["entries"]), strict=True)) for side in (ours, theirs)))


def units_of(header: dict[str, Any]) -> tuple[list[tuple[str, TheoreticalReceptiveField | None]], tuple[int, ...]]:
    """The units of a header, and the shape of its inputs."""
    read = TheoreticalReceptiveField.from_dict
    entries = [(entry["layer"], entry["theoretical"] and read(entry["theoretical"])) for entry in header["entries"]]
    return entries, tuple(header["input_shape"])


def read_state(state: dict[str, Any]) -> tuple[dict[str, Any], list[GroupSums]]:
    """The header and the sums of a state; refuses one that is foreign or of another version."""
    try:
        header = json.loads(state["header"])
        if header["version"] == 2:
            header, state = _as_version_3(header, state)
        version = header["version"]
        columns = [state.get(key) for key in ("sums", *BY_GROUP, "offsets", "num_nonfinite")]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"This is no state of an ERFAccumulator: {error!r}.") from error
    if version != STATE_VERSION:
        raise ValueError(
            f"The state has version {version!r}, this captum-erf reads versions 2 and {STATE_VERSION}; use the "
            "captum-erf that wrote it, or measure again."
        )
    if None in columns:
        raise ValueError("This is no state of an ERFAccumulator: parts of it are missing.")
    return header, [
        GroupSums(
            sums.clone(),
            *(counts.clone(), dead.clone(), squares.clone(), seen.clone()),
            Region(tuple(offset), tuple(sums.shape[1:])),
            nonfinite,
        )
        for sums, counts, dead, squares, seen, offset, nonfinite in zip(*columns, strict=True)
    ]


def _as_version_3(header: dict[str, Any], state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A state of version 2, which numbered samples alone and did not know them again."""
    squares = [torch.full(counts.shape, math.nan, dtype=torch.float64) for counts in state["counts"]]
    unknown = {"squares": squares, "prints": list(map(torch.zeros_like, state["counts"]))}
    numbering = {"numbered": header["num_seen"], "images": {}}
    return header | {"version": STATE_VERSION, "numbering": numbering}, state | unknown
