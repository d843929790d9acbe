"""Recipes: what must be known to repeat a measurement, as plain strings and numbers."""

from __future__ import annotations

from hashlib import blake2b
from types import CodeType, LambdaType
from typing import Any

import numpy as np
import torch

from ..network.batch import Batches
from ..version import __version__
from .routes import Measurement, Target

OWN = "captum_erf."  # functions of ours are named by their wing, wherever in it they stand


def describe(measurement: Measurement, batches: Batches, **settings: Any) -> dict[str, Any]:
    """The recipe of a measurement and of the settings with which its maps are summed up."""
    network = measurement.network
    return {
        "captum_erf": __version__,
        "torch": torch.__version__.split("+")[0],
        "model": name_of(network.forward_func),
        "layers": [layer.name for layer in network.layers],
        "call": network.layers[0].call,
        "positions": [plain(position) for position in measurement.positions],
        "channel": plain(measurement.channel),
        "neuron_selector": plain(measurement.neuron_selector),
        "magnitude": plain(measurement.magnitude),
        "layout": plain(network.layout),
        "window": measurement.window,
        "autocast": plain(measurement.autocast),
        "eval_mode": measurement.eval_mode,
        "input_index": measurement.input_index,
        "get_inputs": plain(batches.get_inputs),
        "additional_forward_args": plain(batches.additional_forward_args),
        **settings,
    }


def route_words(target: Target) -> str:
    """Which part of the input a unit was measured on."""
    if isinstance(target.window, str):
        return f"whole input: {target.window}"
    return f"window {target.window.region.shape} at {target.window.region.offset}"


def join_routes(ours: list[list[str]], theirs: list[list[str]]) -> list[list[str]]:
    """The distinct routes of every unit; a side without samples yet has none."""
    if not ours or not theirs:
        return ours or theirs
    return [list(dict.fromkeys(mine + other)) for mine, other in zip(ours, theirs, strict=True)]


def plain(value: Any) -> Any:
    """The value as JSON would give it back; functions by their names."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, (slice, torch.dtype)):
        return str(value)
    return name_of(value)


def name_of(thing: Any) -> str:
    """A function's or class's qualified name, an object's repr where it is short, else its class.

    A lambda's name ends in a digest of its code; what it takes from outside does not enter.
    """
    if hasattr(thing, "__qualname__"):
        module = ".".join(thing.__module__.split(".")[:2]) if thing.__module__.startswith(OWN) else thing.__module__
        name = f"{module}.{thing.__qualname__}"
        is_lambda = isinstance(thing, LambdaType) and name.endswith("<lambda>")
        return f"{name} {_digest(thing.__code__)}" if is_lambda else name
    if isinstance(thing, torch.nn.Module) or len(repr(thing)) > 80 or " at 0x" in repr(thing):
        return f"{type(thing).__module__}.{type(thing).__qualname__}"
    return repr(thing)


def _digest(code: CodeType) -> str:
    constants = [item for item in code.co_consts if isinstance(item, (int, float, str, tuple))]
    return blake2b(code.co_code + repr((code.co_names, constants)).encode(), digest_size=4).hexdigest()
