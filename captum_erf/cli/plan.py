"""What is measured: every network with each of its weights, its layers and how they are read."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..network.layouts import Layout, channels_last, tokens
from ..network.passes import IMAGE_FORMAT
from ..network.units import resolve_position
from ..protocols import PROTOCOLS, Protocol
from .layers import Outputs, Reading, check_call, default_layers, detect_layout, look, read_shape, wanted_layers
from .models import NamedModel, load_model
from .options import PRECISIONS, is_file
from .samples import input_shape
from .terminal import say
from .texts import Wanted
from .weights import read_weights


@dataclass(frozen=True)
class Case:
    """One network with one set of weights, and the layers that are measured."""

    wanted: Wanted
    weights: str | None
    found: NamedModel
    shape: tuple[int, ...]
    outputs: Outputs
    layers: list[str]
    reading: Reading

    @property
    def file(self) -> Path | None:
        """The file that holds the weights, if there is one."""
        return Path(self.weights) if self.weights is not None and is_file(self.weights) else None

    @property
    def label(self) -> str:
        """The weights in one word."""
        return self.file.stem if self.file else self.weights or "random"


@dataclass(frozen=True)
class Settings:
    """How every network is measured: keywords of the accumulator, and the protocol that fixed some of them."""

    keywords: dict[str, Any]
    protocol: Protocol[Any] | None


def make_settings(options: argparse.Namespace) -> Settings:
    r"""
    The settings of the measurement.

    Raises:
        ValueError: An option is one that the protocol fixes.
    """
    keywords = {
        "positions": (options.position or "center",),
        "channel": options.channel,
        "window": "auto" if options.window else False,
        "autocast": options.autocast and getattr(torch, PRECISIONS[options.autocast]),
        "normalize": options.normalize,
    }
    if options.protocol is None:
        return Settings(keywords, None)
    protocol = PROTOCOLS[options.protocol]
    fixed = {"channel": "channel" in protocol.settings, "position": protocol.central}
    for option, is_fixed in fixed.items():
        if is_fixed and getattr(options, option) is not None:
            raise ValueError(f"--protocol {protocol.name} fixes the {option}; drop --{option}.")
    if options.normalize:
        raise ValueError(f"--protocol {protocol.name} takes the mean of the sample maps as they are; drop --normalize.")
    return Settings(keywords | dict(protocol.settings), protocol)


def make_cases(options: argparse.Namespace, settings: Settings) -> list[Case]:
    r"""
    The networks in the order of the command line, each with its weights one after the other.

    Raises:
        ValueError: A model, layer, unit or channel is not there.
        ImportError, WeightsError: A model or its weights cannot be had.
    """
    device = _device(options.device)
    cases: list[Case] = []
    for wanted, weights in zip(options.models, options.weights, strict=True):
        layers: list[str] | None = None
        for one in weights:
            cases.append(_make_case(options, wanted, one, device, layers))
            layers = cases[-1].layers
    for case in cases:
        for layer in case.layers:
            _check_unit(case, layer, settings.keywords)
    return cases


def _device(name: str | None) -> torch.device:
    wanted = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        probe = torch.zeros((), device=wanted)
        probe.item()
        return probe.device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        kinds = {"cuda": torch.cuda, "mps": torch.backends.mps, "xpu": torch.xpu}
        here = ["cpu", *(kind for kind, its in kinds.items() if its.is_available())]
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        raise ValueError(f"--device {wanted} cannot be used: {reason}. Here there is {', '.join(here)}.") from error


def image_format(model: nn.Module, device: torch.device) -> torch.memory_format:
    """Of weights: on a processor, networks of two dimensions run a quarter faster with channels last."""
    is_flat = all(weight.ndim < 5 for weight in model.parameters())
    return IMAGE_FORMAT if device.type == "cpu" and is_flat else torch.preserve_format


def _make_case(
    options: argparse.Namespace, wanted: Wanted, weights: str | None, device: torch.device, layers: list[str] | None
) -> Case:
    file = Path(weights) if weights is not None and is_file(weights) else None
    found = load_model(wanted, None if file else weights, seed=options.seed)
    found, shape, outputs = _runnable(found, options)
    reading = Reading("channels_first")
    try:
        layers, reading = _choose(options, wanted, found.model, outputs, shape[1:], layers)
    except ValueError:
        if not options.list_layers:
            raise
        layers = []
    if file is not None:
        chosen = [found.model.get_submodule(name) for name in layers]
        left_out = read_weights(found.model, file, chosen or [found.model], shape)
        found = dataclasses.replace(found, weights=f"from the file {file}")
        if left_out:
            say(left_out)
    found.model.to(device).to(memory_format=image_format(found.model, device))
    return Case(wanted, weights, found, shape, outputs, layers, reading)


def _runnable(found: NamedModel, options: argparse.Namespace) -> tuple[NamedModel, tuple[int, ...], Outputs]:
    """The model, or the one that it holds as ``.model`` where it is a wrapper that cannot be run itself."""
    inner = getattr(found.model, "model", None)
    if not isinstance(inner, nn.Module):
        shape = input_shape(found.model, found.look, options)
        return found, shape, look(found.model, shape)
    shape = input_shape(inner, found.look, options)
    if type(found.model).__call__ is nn.Module.__call__:
        try:
            return found, shape, look(found.model, shape)
        except ValueError as error:
            refusal: Exception | None = error
    else:
        refusal = None
    try:
        outputs = look(inner, shape)
    except ValueError:
        raise refusal or ValueError(
            f"{type(found.model).__name__} is no network that can be run; pass the one that it holds as .model."
        ) from None
    say(f"{type(found.model).__name__} cannot be run itself; measured is the network that it holds as .model")
    code = dataclasses.replace(found.code, expression=f"{found.code.expression}.model")
    return dataclasses.replace(found, model=inner.eval().requires_grad_(False), code=code), shape, outputs


def _choose(
    options: argparse.Namespace,
    wanted: Wanted,
    model: nn.Module,
    outputs: Outputs,
    size: Sequence[int],
    layers: list[str] | None,
) -> tuple[list[str], Reading]:
    asked = wanted.layers or options.layers
    if asked:
        layers = wanted_layers(model, outputs, asked, options.call)
    reading = Reading(_layout(options.layout)) if options.layout else detect_layout(outputs, size, layers)
    if layers is None:
        layers = default_layers(model, outputs, reading.layout, size)
        layers = layers if len(options.models) == 1 else layers[-1:]
    check_call(outputs, layers, options.call)
    return layers, reading


def _layout(text: str) -> Layout:
    kind, _, prefix = text.partition(":")
    return tokens(int(prefix or 0)) if kind == "tokens" else channels_last if kind == "channels_last" else kind


def _check_unit(case: Case, layer: str, keywords: dict[str, Any]) -> None:
    try:
        _, channels, *grid = read_shape(layer, case.outputs[layer], case.reading.layout, case.shape[1:])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{error} Here: --layout channels_last or --layout tokens:PREFIX.") from error
    resolve_position(keywords["positions"][0], grid)
    channel = keywords["channel"]
    chosen = [channel] if isinstance(channel, int) else channel if isinstance(channel, list) else []
    outside = [one for one in chosen if not -channels <= one < channels]
    if outside:
        raise ValueError(f"--channel {outside[0]} is outside the {channels} channels of {layer}: 0 to {channels - 1}.")


def each_model(cases: Sequence[Case]) -> Iterator[Case]:
    """The first case of every model."""
    seen = set()
    for case in cases:
        if case.wanted not in seen:
            seen.add(case.wanted)
            yield case
