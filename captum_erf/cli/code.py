"""The Python that does the same as the command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..images import NUM_SAMPLES, Crops
from . import figure, naming
from .page import batch_size, name_of, num_shown
from .plan import Case, Settings, weight_format
from .samples import Samples
from .texts import LAYOUTS

PLACES = {  # of what the code may name
    "captum_erf": ("EffectiveReceptiveField", "protocols", *LAYOUTS),
    "captum_erf.cli.page": ("pictures", "sweep"),
    "captum_erf.cli.samples": ("Arrays", "Noise", "loader", "numbers_of"),
    "captum_erf.cli.weights": ("read_weights",),
    "captum_erf.images": ("folder", "photograph"),
    "captum_erf.measurement.loop": ("run_through",),
    "captum_erf.visualization": ("plot_layers", "plot_models", "write_page"),
}
DEFAULTS = {"positions": None, "channel": None, "window": "auto", "autocast": None, "normalize": False}


class Name(str):
    """Text that stands for itself in the code."""

    def __repr__(self) -> str:
        return str(self)


def show_code(settings: Settings, cases: Sequence[Case], samples: Sequence[Samples]) -> str:
    """A script that measures the cases, prints their reports and draws them."""
    options = settings.options
    body = ["fields = []", *["units, alone = {}, {}"] * options.page]
    for case, its in zip(cases, samples, strict=True):
        body += ["", *_measurement(settings, case, its)]
        if options.page:
            body += _units(settings, case, its)
    report = f"protocols.{settings.protocol.name}.report(field)" if settings.protocol else "field"
    body += ["", "for field in fields:", f"    print({report}, end='\\n\\n')", f"figure = {_figure(cases)}"]
    body += [f"figure.savefig('{naming.picture_name(len(cases))}.{ending}')" for ending in options.format]
    if options.page:
        images = Name(f"pictures({_samples(settings, samples[0])})")
        body.append(_call("write_page", "page.html", Name("units"), images, image_fields=Name("alone")))
    return "\n".join([*_imports("\n".join(body), cases), "", *body])


def _imports(body: str, cases: Sequence[Case]) -> Iterator[str]:
    """The lines that import what the body names."""
    yield "import torch"
    yield from dict.fromkeys(case.found.code.imports for case in cases)
    yield ""
    for place, names in PLACES.items():
        found = [name for name in names if re.search(rf"(?<![\w.]){name}[(.),]", body)]
        if found:
            yield f"from {place} import {', '.join(sorted(found))}"


def _measurement(settings: Settings, case: Case, samples: Samples) -> Iterator[str]:
    options, layout = settings.options, case.reading.layout
    read_by = None if layout == "channels_first" else Name(getattr(layout, "__name__", repr(layout)))
    yield f"torch.manual_seed({options.seed})"
    yield f"model = {case.found.code.expression}.eval()"
    if case.file:
        layers = ", ".join(f"model.get_submodule({layer!r})" for layer in case.layers)
        yield f"read_weights(model, {str(case.file)!r}, [{layers}], {case.shape})"
    device = next((tensor.device for tensor in case.found.model.parameters()), torch.device("cpu"))
    yield f"model.to({str(device)!r}).to(memory_format={weight_format(case.found.model, device)})"
    yield f"erf = {_call('EffectiveReceptiveField', Name('model'), case.layers, layout=read_by, call=options.call)}"
    yield f"samples = {_samples(settings, samples)}"
    yield f"torch.manual_seed({options.seed})"
    loader = Name(f"loader(samples, {options.batch_size})")
    keywords = _keywords(settings, settings.keywords["positions"])
    stop = {"target_error": options.target_error, "min_samples": options.min_samples}
    if options.min_samples is None:
        yield f"fields += {_call('erf.sweep', loader, **keywords, **stop)}"
    else:
        yield f"fields += {_call('run_through', Name(_call('erf.accumulator', **keywords)), loader, **stop)}"


def _units(settings: Settings, case: Case, samples: Samples) -> Iterator[str]:
    """The units of the page, over all samples and over the first images alone."""
    yield f"torch.manual_seed({settings.options.seed})"
    batches = Name(f"loader(samples, {batch_size(settings, samples)})")
    swept = _call("sweep", Name("erf"), batches, num_shown(samples), **_keywords(settings, "grid"))
    yield f"units[{name_of(case)!r}], alone[{name_of(case)!r}] = {swept}"


def _keywords(settings: Settings, positions: Any) -> dict[str, Any]:
    """Keywords of a sweep where they are not the default."""
    fixed = dict(settings.protocol.settings) if settings.protocol else {}
    own = {key: value for key, value in settings.keywords.items() if key not in fixed and value != DEFAULTS[key]}
    given = own | {"positions": positions, "get_groups": Name("numbers_of")}
    return given | ({"**": Name(f"protocols.{settings.protocol.name}.settings")} if settings.protocol else {})


def _figure(cases: Sequence[Case]) -> str:
    if len(cases) == 1:
        return "plot_layers(fields)"
    order = [(case, layer) for case in cases for layer in case.layers]
    rows = {
        row: {label: Name(f"fields[{order.index(place)}]") for label, place in labelled.items()}
        for row, labelled in figure.places(cases).items()
    }
    return f"plot_models({rows})"


def _samples(settings: Settings, samples: Samples) -> str:
    if not isinstance(samples, Crops):
        return repr(samples)
    options, look = settings.options, samples.look
    keywords = {"size": look.size, "seed": samples.seed, "mean": look.mean, "std": look.std}
    keywords |= {"cut": options.crop, "short_side": samples.short_side}
    if options.data is None:
        number = [] if samples.num_samples == NUM_SAMPLES else [samples.num_samples]
        return _call("photograph", *number, **keywords)
    return _call("folder", str(options.data), samples.num_samples, **keywords)


def _call(name: str, *given: Any, **keywords: Any) -> str:
    """The call of a function, without the keywords that are None."""
    arguments = [repr(value) for value in given]
    arguments += [f"{key}={value!r}".replace("**=", "**") for key, value in keywords.items() if value is not None]
    return f"{name}({', '.join(arguments)})"
