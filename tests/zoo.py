"""Networks that people use, small, each measured in an early and in a deep layer against plain autograd.

``python tests/zoo.py`` measures all of them and prints the table of ``tests/zoo.md``; names choose some. All is done in
float64 where the network takes it: in float32 a ReLU's input that is zero but for rounding falls to either side, as the
kernel has it, and the gradient jumps. Rows stand by family in ``tests/specimens``.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from specimens import ZOO
from specimens.specimen import Specimen
from torch import Tensor, nn

from captum_erf import EffectiveReceptiveField, channels_last, tokens

POSITIONS = ("center", "corner", "edge")
MAP_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
ROUNDING = 1e-9
LAST_BUILT: dict[str, nn.Module] = {}  # by name; never run


@dataclass(frozen=True)
class Finding:
    """What was measured of one layer: its fields, by position, the largest error of a map, and the routes taken."""

    layer: str
    fields: list[Any]
    error: float
    leak: float
    routes: list[str]

    def receptive_field(self) -> str:
        trf = self.fields[0].theoretical
        if trf.is_global:
            return "global"
        size = " x ".join("all" if g else str(s) for s, g in zip(trf.size, trf.global_axes, strict=True))
        return f"at least {size}" if trf.is_clipped else size


def attribution(specimen: Specimen, model: nn.Module, layer: str) -> EffectiveReceptiveField:
    """The package's class for one layer, as a user would make it."""
    forward_func = specimen.forward(model)
    found = layer if forward_func is model else model.get_submodule(layer)
    layout = specimen.layouts.get(layer, "channels_first")
    options = {} if specimen.input_layout == "channels_first" else {"input_layout": specimen.input_layout}
    return EffectiveReceptiveField(forward_func, found, layout=layout, call=specimen.call, **options)


def plain_maps(specimen: Specimen, model: nn.Module, layer: str, inputs: Tensor) -> list[Tensor]:
    """The maps by autograd on the whole input, without any of the package's passes, position by position."""
    leaf, kept = inputs.clone().requires_grad_(), []
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _a, output: kept.append(output))
    specimen.forward(model)(leaf, *batched(specimen, len(inputs)))
    handle.remove()
    layout = specimen.layouts.get(layer)
    read = layout(kept[-1]) if layout else kept[-1]
    center = tuple(length // 2 for length in read.shape[2:])
    units = [center, (0,) * len(center), (0, *center[1:])]
    channel = specimen.channels.get(layer)
    chosen = read if channel is None else read[:, channel : channel + 1]
    gradients = [
        torch.autograd.grad(chosen[(..., *unit)].sum(), leaf, retain_graph=unit is not units[-1])[0] for unit in units
    ]
    layout = specimen.input_layout
    seen = [gradient if layout == "channels_first" else layout(gradient) for gradient in gradients]
    return [gradient.abs().sum(1).mean(0) for gradient in seen]


def batched(specimen: Specimen, samples: int) -> tuple[Any, ...]:
    """Further arguments, those of one sample repeated for all."""
    return tuple(
        item.expand(samples, *item.shape[1:]) if isinstance(item, Tensor) else item for item in specimen.arguments
    )


def measure(specimen: Specimen, model: nn.Module, inputs: Tensor, plain: nn.Module) -> list[Finding]:
    """Every layer at all positions, with and without windows, against the plain computation on a copy."""
    findings = []
    for layer in specimen.layers:
        expected = plain_maps(specimen, plain, layer, inputs)
        erf = attribution(specimen, model, layer)
        settings = {
            "positions": POSITIONS,
            "channel": specimen.channels.get(layer),
            "additional_forward_args": batched(specimen, len(inputs)) or None,
        }
        apart = erf.sweep([inputs], **settings)
        whole = erf.sweep([inputs], **settings, window=False)
        error = max(
            _difference(field.values, reference)
            for fields in (apart, whole)
            for field, reference in zip(fields, expected, strict=True)
        )
        leak = max(_outside(field.theoretical, reference) for field, reference in zip(apart, expected, strict=True))
        findings.append(Finding(layer, apart, error, leak, [field.recipe["route"] for field in apart]))
    return findings


def _difference(values: Any, reference: Tensor) -> float:
    assert reference.max() > 0, "a dead unit compares nothing"
    return float((torch.as_tensor(values) - reference).abs().max() / reference.max())


def _outside(theoretical: Any, reference: Tensor) -> float:
    """The largest value outside the theoretical box, as a share of the maximum."""
    outside = reference.clone()
    inside = [slice(max(low, 0), max(high, 0)) for low, high in zip(theoretical.lower, theoretical.upper, strict=True)]
    outside[tuple(inside)] = 0
    return float(outside.max() / reference.max())


def build(specimen: Specimen) -> nn.Module:
    """The network, never run before: a copy where it takes one, as drawing weights takes longer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if specimen.name not in LAST_BUILT:
            LAST_BUILT.clear()
            LAST_BUILT[specimen.name] = specimen.build()
        try:
            return copy.deepcopy(LAST_BUILT[specimen.name])
        except RuntimeError:  # computed weights, as of torch.nn.utils.weight_norm
            return specimen.build()


def missing(specimen: Specimen) -> str | None:
    """Why the network cannot be made here; None where it can."""
    if importlib.util.find_spec(specimen.module) is not None:
        return None
    return f"{specimen.package} is not installed; the extra {specimen.extra!r} brings it, or pip install --no-deps"


def layout_words(layout: Any) -> str:
    if isinstance(layout, tokens):
        return f"`tokens({f'prefix={layout.prefix}' if layout.prefix else ''})`"
    return {"channels_first": "default", channels_last: "`channels_last`"}.get(layout, "a callable")


def table_row(specimen: Specimen, findings: Sequence[Finding]) -> str:
    words = dict.fromkeys(layout_words(specimen.layouts.get(layer, "channels_first")) for layer in specimen.layers)
    layers = ", ".join(f"`{layer}`" for layer in specimen.layers)
    fields = ", ".join(finding.receptive_field() for finding in findings)
    error = max(finding.error for finding in findings)
    result = f"{'equal' if error <= MAP_TOLERANCE[specimen.dtype] else 'DIFFERENT'} ({error:.0e})"
    return f"| {' | '.join((specimen.name, specimen.package, layers, ', '.join(words), fields, result))} |"


def main() -> None:
    torch.set_num_threads(1)
    chosen = sys.argv[1:]
    print("| Network | From | Layers measured | Layout | TRF of the center unit | Map against plain autograd |")
    print("| --- | --- | --- | --- | --- | --- |")
    for specimen in ZOO:
        if chosen and specimen.name not in chosen:
            continue
        if missing(specimen):
            print(f"  {specimen.name}: {missing(specimen)}", file=sys.stderr)
            continue
        start = time.perf_counter()
        try:
            findings = measure(specimen, build(specimen), specimen.inputs(), build(specimen))
        except Exception as error:
            print(f"| {specimen.name} | {specimen.package} | | | | fails: {error} |", flush=True)
            continue
        print(table_row(specimen, findings), flush=True)
        for finding in findings:
            print(f"  {finding.layer}: leak {finding.leak:.1e} {finding.routes}", file=sys.stderr)
        print(f"  {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
