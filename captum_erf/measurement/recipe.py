"""Recipes: what must be known to repeat a measurement, as plain strings and numbers."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import torch

from ..names import name_of, plain
from ..network.network import Network
from ..version import __version__
from .measurement import Measurement

VERSIONS = ("captum_erf", "torch")  # tell who measured, not what
DEFAULTS = {
    item.name: plain(item.default)
    for settings in (Network, Measurement)
    for item in fields(settings)
    if item.default is not MISSING
} | {"input_layout": "channels_first"}
"""What a recipe means that leaves a setting out, as those of versions do that did not have it yet."""


def describe(measurement: Measurement) -> dict[str, Any]:
    """The recipe of a measurement."""
    network = measurement.network
    return {
        "captum_erf": __version__,
        "torch": torch.__version__.split("+")[0],
        "model": name_of(network.forward_func),
        "layers": [layer.name for layer in network.layers],
        "call": network.layers[0].call,
        "positions": plain(measurement.positions),
        "channel": plain(measurement.channel),
        "neuron_selector": plain(measurement.neuron_selector),
        "magnitude": plain(measurement.magnitude),
        "normalize": measurement.normalize,
        "layout": plain(network.layout),
        "input_layout": plain(network.input_layout.layout),
        "window": measurement.window,
        "autocast": plain(measurement.autocast),
        "eval_mode": measurement.eval_mode,
        "input_index": measurement.input_index,
        "get_inputs": plain(measurement.get_inputs),
        "get_groups": plain(measurement.get_groups),
        "additional_forward_args": plain(measurement.additional_forward_args),
        "groups": measurement.groups,
        "nonfinite": measurement.nonfinite,
    }


def check_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Refuses the recipe of another measurement; a setting that one of them leaves out has its default."""
    for key in {**ours, **theirs}:
        here, there = (recipe.get(key, DEFAULTS.get(key)) for recipe in (ours, theirs))
        if key not in VERSIONS and here != there:
            raise ValueError(
                f"The sums belong to different measurements: {key} is {here!r} here and {there!r} there. "
                "Only sums of the same layers, recipe and input size can be added."
            )


def join_routes(ours: list[list[str]], theirs: list[list[str]]) -> list[list[str]]:
    """The distinct routes of every unit, in words; a side without samples yet has none."""
    if not ours or not theirs:
        return ours or theirs
    return [list(dict.fromkeys(mine + other)) for mine, other in zip(ours, theirs, strict=True)]
