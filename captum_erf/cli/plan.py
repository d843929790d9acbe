"""What is measured: every network with each of its weights, its layers and how they are read."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..images import Look
from ..network.layouts import as_layout
from ..network.passes import image_format
from ..network.units import resolve_position
from ..protocols import PROTOCOLS, Protocol
from ..text import counted
from .layers import Outputs, Reading, check_call, default_layers, detect_layout, look, read_shape, wanted_layers
from .models import NamedModel, load_model
from .options import PRECISIONS, file_of
from .terminal import say
from .texts import Wanted
from .weights import read_weights

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
OTHER_INPUTS = {1: ("signals", "C,L", "4096"), 3: ("volumes", "C,D,H,W", "32,64,64")}  # by number of axes


@dataclass(frozen=True, eq=False)
class Case:
    """One network with one set of weights, and the layers that are measured."""

    wanted: Wanted
    weights: str | None
    found: NamedModel
    outputs: Outputs
    layers: list[str]
    reading: Reading

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input, ``(C, *size)``."""
        return self.outputs.shape

    @property
    def file(self) -> Path | None:
        """The file that holds the weights, if there is one."""
        return file_of(self.weights)

    @property
    def label(self) -> str:
        """The weights in one word."""
        return self.file.stem if self.file else self.weights or "random"

    @property
    def stem(self) -> str:
        """What files are named after: the network and its weights."""
        return f"{self.wanted.short}-{self.label}"


@dataclass(frozen=True)
class Settings:
    """The options, the keywords of the accumulator that they come to, and the protocol that fixed some of these."""

    options: argparse.Namespace
    keywords: dict[str, Any]
    protocol: Protocol[Any] | None

    @property
    def several(self) -> bool:
        """Whether there are several cases."""
        return sum(map(len, self.options.weights)) > 1


def make_settings(options: argparse.Namespace) -> Settings:
    """The settings of the measurement; a ValueError where an option is one that the protocol fixes."""
    keywords = {
        "positions": (options.position or "center",),
        "channel": options.channel,
        "window": "auto" if options.window else False,
        "autocast": options.autocast and getattr(torch, PRECISIONS[options.autocast]),
        "normalize": options.normalize,
    }
    if options.protocol is None:
        return Settings(options, keywords, None)
    protocol = PROTOCOLS[options.protocol]
    fixed = {"channel": "channel" in protocol.settings, "position": protocol.central}
    for option, is_fixed in fixed.items():
        if is_fixed and getattr(options, option) is not None:
            raise ValueError(f"--protocol {protocol.name} fixes the {option}; drop --{option}.")
    if options.normalize:
        raise ValueError(f"--protocol {protocol.name} takes the mean of the sample maps as they are; drop --normalize.")
    return Settings(options, keywords | dict(protocol.settings), protocol)


def make_cases(settings: Settings) -> list[Case]:
    """The networks in the order of the command line, each with its weights one after the other."""
    options, device = settings.options, _device(settings.options.device)
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


def weight_format(model: nn.Module, device: torch.device) -> torch.memory_format:
    """Of weights: on a processor, networks of two dimensions run a quarter faster with channels last."""
    is_flat = all(weight.ndim < 5 for weight in model.parameters())
    return image_format(device) if is_flat else torch.preserve_format


def _make_case(
    options: argparse.Namespace, wanted: Wanted, weights: str | None, device: torch.device, layers: list[str] | None
) -> Case:
    file = file_of(weights)
    found, outputs = _runnable(load_model(wanted, None if file else weights, seed=options.seed), options)
    reading = Reading("channels_first")
    try:
        layers, reading = _choose(options, wanted, outputs, layers)
    except ValueError:
        if not options.list_layers:
            raise
        layers = []
    if file is not None:
        chosen = [outputs.module(name) for name in layers]
        left_out = read_weights(found.model, file, chosen or [found.model], outputs.shape)
        found = replace(found, weights=f"from the file {file}")
        if left_out:
            say(left_out)
    found.model.to(device).to(memory_format=weight_format(found.model, device))
    return Case(wanted, weights, found, outputs, layers, reading)


def _input_shape(model: nn.Module, look: Look, options: argparse.Namespace) -> tuple[int, ...]:
    """Shape of one input, ``(C, *size)``: what the user says, else what the first convolution and the look tell."""
    if options.shape is not None:
        return tuple(options.shape)
    first = next((module for module in model.modules() if isinstance(module, CONVOLUTIONS)), None)
    channels = first.in_channels if first is not None and first.in_channels else 3
    num_dims = 2 if first is None else len(first.kernel_size)
    if num_dims == 2:
        return channels, *(options.size or look.size)
    kind, axes, such = OTHER_INPUTS[num_dims]
    raise ValueError(
        f"The network takes {kind} of {counted(channels, 'channel')}; say how large: --shape {axes}, such as "
        f"--shape {channels},{such}."
    )


def _runnable(found: NamedModel, options: argparse.Namespace) -> tuple[NamedModel, Outputs]:
    """The model, or the one that it holds as ``.model`` where it is a wrapper that cannot be run itself."""
    held = getattr(found.model, "model", None)
    inner = held if isinstance(held, nn.Module) else None
    shape = _input_shape(found.model if inner is None else inner, found.look, options)
    refusal = ValueError(
        f"{type(found.model).__name__} is no network that can be run; pass the one that it holds as .model."
    )
    if inner is None or type(found.model).__call__ is nn.Module.__call__:
        try:
            return found, look(found.model, shape)
        except ValueError as error:
            refusal = error
    if inner is None:
        raise refusal
    try:
        outputs = look(inner, shape)
    except ValueError:
        raise refusal from None
    say(f"{type(found.model).__name__} cannot be run itself; measured is the network that it holds as .model")
    code = replace(found.code, expression=f"{found.code.expression}.model")
    return replace(found, model=inner.eval().requires_grad_(False), code=code), outputs


def _choose(
    options: argparse.Namespace, wanted: Wanted, outputs: Outputs, layers: list[str] | None
) -> tuple[list[str], Reading]:
    asked = wanted.layers or options.layers
    if asked:
        layers = wanted_layers(outputs, asked, options.call)
    reading = Reading(as_layout(options.layout)) if options.layout else detect_layout(outputs, layers)
    if layers is None:
        layers = default_layers(outputs, reading.layout)
        layers = layers if len(options.models) == 1 else layers[-1:]
    check_call(outputs, layers, options.call)
    return layers, reading


def _check_unit(case: Case, layer: str, keywords: dict[str, Any]) -> None:
    try:
        _, channels, *grid = read_shape(case.outputs, layer, case.reading.layout)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{error} Here: --layout channels_last or --layout tokens:PREFIX.") from error
    resolve_position(keywords["positions"][0], grid)
    channel = keywords["channel"]
    chosen = [channel] if isinstance(channel, int) else channel if isinstance(channel, list) else []
    outside = [one for one in chosen if not -channels <= one < channels]
    if outside:
        raise ValueError(f"--channel {outside[0]} is outside the {channels} channels of {layer}: 0 to {channels - 1}.")


def by_model(cases: Iterable[Case]) -> list[list[Case]]:
    """The cases of every model."""
    return [list(its) for _, its in groupby(cases, lambda case: case.wanted)]
