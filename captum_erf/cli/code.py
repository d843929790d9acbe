"""The Python that does the same as the command."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..images import NUM_SAMPLES, Crops
from ..network.layouts import channels_last, tokens
from .plan import Case, Settings
from .samples import Samples


def show_code(
    options: argparse.Namespace, settings: Settings, cases: Sequence[Case], samples: Sequence[Samples]
) -> str:
    """A script that measures the cases and prints their reports."""
    body = [
        line
        for case, its in zip(cases, samples, strict=True)
        for line in ["", *_measurement(options, settings, case, its)]
    ]
    report = f"protocols.{settings.protocol.name}.report(field)" if settings.protocol else "field"
    body += ["", "for field in fields:", f"    print({report}, end='\\n\\n')"]
    return "\n".join([*_imports("\n".join(body), cases), "", "fields = []", *body])


def _imports(body: str, cases: Sequence[Case]) -> Iterator[str]:
    """The lines that import what the body names."""
    own = dict.fromkeys(case.found.code.imports for case in cases)
    yield "import torch"
    yield from own
    yield "from torch.utils.data import DataLoader"
    yield ""
    names = ["EffectiveReceptiveField", "channels_last", "protocols", "tokens"]
    yield f"from captum_erf import {', '.join(name for name in names if name in body)}"
    for name, place in {
        "Arrays": "cli.samples",
        "Noise": "cli.samples",
        "folder": "images",
        "photograph": "images",
        "read_weights": "cli.weights",
    }.items():
        if f"{name}(" in body:
            yield f"from captum_erf.{place} import {name}"


def _measurement(options: argparse.Namespace, settings: Settings, case: Case, samples: Samples) -> Iterator[str]:
    layout = case.reading.layout
    read_by = Name("channels_last") if layout is channels_last else layout if isinstance(layout, tokens) else None
    yield f"torch.manual_seed({options.seed})"
    yield f"model = {case.found.code.expression}.eval()"
    if case.file:
        layers = ", ".join(f"model.get_submodule({layer!r})" for layer in case.layers)
        yield f"read_weights(model, {str(case.file)!r}, [{layers}], {case.shape})"
    if options.device:
        yield f"model.to({options.device!r})"
    yield f"erf = {_call('EffectiveReceptiveField', Name('model'), case.layers, layout=read_by, call=options.call)}"
    yield f"samples = {_samples(options, samples)}"
    yield f"torch.manual_seed({options.seed})"
    keywords = {key: value for key, value in settings.keywords.items() if key not in _fixed(settings)}
    keywords["positions"] = list(keywords["positions"])
    keywords["normalize"] = keywords["normalize"] or None
    keywords["window"] = None if keywords["window"] == "auto" else False
    keywords["autocast"] = keywords["autocast"] and Name(str(keywords["autocast"]))
    fixed = f", **protocols.{settings.protocol.name}.settings" if settings.protocol else ""
    loader = Name(f"DataLoader(samples, {options.batch_size}, generator=torch.Generator())")
    yield f"fields += {_call('erf.sweep', loader, **keywords, target_error=options.target_error)[:-1]}{fixed})"


def _fixed(settings: Settings) -> Mapping[str, Any]:
    return settings.protocol.settings if settings.protocol else {}


def _samples(options: argparse.Namespace, samples: Samples) -> str:
    if not isinstance(samples, Crops):
        return repr(samples)
    look = samples.look
    keywords = {"size": look.size, "seed": samples.seed, "mean": look.mean, "std": look.std}
    keywords |= {"cut": options.crop, "short_side": samples.short_side}
    if options.data is None:
        number = [] if samples.num_samples == NUM_SAMPLES else [samples.num_samples]
        return _call("photograph", *number, **keywords)
    return _call("folder", str(options.data), samples.num_samples, **keywords)


class Name(str):
    """Text that stands for itself in the code."""

    def __repr__(self) -> str:
        return str(self)


def _call(name: str, *given: Any, **keywords: Any) -> str:
    """The call of a function, without the keywords that are None."""
    arguments = [repr(value) for value in given]
    arguments += [f"{key}={value!r}" for key, value in keywords.items() if value is not None]
    return f"{name}({', '.join(arguments)})"
