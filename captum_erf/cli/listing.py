"""The layers of a network, what they hand over, and their theoretical receptive fields."""

from __future__ import annotations

from ..geometry.table import HEADINGS, cells_of
from ..geometry.theoretical import theoretical_receptive_fields
from ..text import columns, times
from .plan import Case

NO_FIELD = ("",) * (len(HEADINGS) - 1)


def list_layers(case: Case) -> str:
    """A table of the modules, with a star at those that are measured where none is named."""
    found, reason = _fields(case)
    lines: list[tuple[str, ...]] = [("layer", "kind", "output", *HEADINGS[1:], "")]
    for name, module in case.found.model.named_modules():
        star = "*" if name in case.layers else ""
        lines.append(
            (name or "(the network)", type(module).__name__, _output(case, name), *found.get(name, NO_FIELD), star)
        )
    chosen = "* is measured without --layers" if case.layers else "None is measured without --layers and --layout"
    size = times(case.shape[1:])
    return "\n".join([columns(lines, left=3), "", f"{case.wanted.name} on inputs of {size}. {chosen}.{reason}"])


def _fields(case: Case) -> tuple[dict[str, tuple[str, ...]], str]:
    """For every layer with a grid what stands in its line, and why there is nothing, if so."""
    try:
        table = theoretical_receptive_fields(case.found.model, None, case.shape, layout=case.reading.layout)
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        return {}, f" No theoretical fields: {error}"
    return {layer: cells_of(layer, field)[1:] for layer, field in zip(table.layers, table, strict=True)}, ""


def _output(case: Case, name: str) -> str:
    output = case.outputs.get(name)
    if output is None:
        return "not run"
    words = "no tensor" if output.shape is None else f"(N, {str(output.shape[1:])[1:]}"
    return words + f", run {output.calls} times" * (output.calls > 1)
