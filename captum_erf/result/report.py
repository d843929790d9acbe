"""What a person reads of a result: a row of a table, and a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import summaries
from ..summaries.arrays import times
from .jackknife import delete_a_group

if TYPE_CHECKING:
    from ..erfmap import ERFMap

Number = float | list[float] | None
MAGNITUDE_WORDS = {
    "abs": "mean |dy/dx|",
    "square": "mean (dy/dx)²",
    "positive": "mean of positive dy/dx",
    "signed": "mean dy/dx",
}


def summary(field: ERFMap) -> dict[str, Any]:
    """One row of a table, see :meth:`ERFMap.summary`."""
    trf = field.theoretical
    measured = _measure(field)
    rest = [_measure(other) for other in field.leave_one_out()]
    row: dict[str, Any] = {
        "layer": field.layer,
        "position": _plain(field.position),
        "grid": _plain(field.grid),
        "input_size": _plain(field.values.shape),
        "num_samples": field.num_samples,
        "num_dead": field.num_dead,
        "stride": None if trf is None else _plain(trf.stride),
        "trf_size": None if trf is None else _plain(trf.size),
        "outside": trf and trf.outside,
        "center": _plain(field.center),
        "center_source": field.center_source,
    }
    for key, value in measured.items():
        row[key] = value
        row[f"{key}_se"] = _standard_error(
            value, [other[key] for other in rest], turn=180 if key == "gaussian_angle" else 0
        )
    return row


def _measure(field: ERFMap) -> dict[str, Number]:
    """Every measured number of the summary; None where the map has none."""
    mass = _or_none(field.radius_mass)
    fit = _or_none(field.gaussian_fit)
    diameters = {f"diameter_{percent}": mass and mass.diameter(percent / 100) for percent in (50, 90, 95)}
    return {
        **diameters,
        "gaussian_sigma": fit and [float(sigma) for sigma in fit.sigmas],
        "gaussian_angle": fit and fit.angle,
        "gaussian_r2": fit and fit.r2,
        "threshold_size": _or_none(field.threshold_size),
        "effective_pixels": _or_none(field.effective_pixels),
        "erf_to_trf": _ratio(diameters["diameter_95"], field),
    }


def _ratio(diameter: float | None, field: ERFMap) -> float | None:
    trf = field.theoretical
    return diameter / max(trf.size) if diameter is not None and trf is not None and trf.is_known else None


def _or_none(compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except ValueError:
        return None


def _standard_error(value: Number, rest: Sequence[Number], turn: float) -> Number:
    if value is None or any(other is None for other in rest):
        return None
    if isinstance(value, list):
        columns = np.array(rest).reshape(len(rest), len(value)).T
        errors = [delete_a_group(column.tolist()) for column in columns]
        return None if None in errors else [error for error in errors if error is not None]
    estimates = np.array(rest, dtype=float)
    if turn:
        estimates = value + (estimates - value + turn / 2) % turn - turn / 2
    return delete_a_group(estimates.tolist())


def _plain(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else [value.item() if isinstance(value, np.generic) else value for value in values]


def text(field: ERFMap) -> str:
    """A readable report of everything that was measured."""
    row = summary(field)
    lines = [_title(field), _samples(field), "", *_geometry(field), ""]
    for percent in (50, 90, 95):
        lines.append(_line(f"{percent} % of the mass", f"{_with_error(row, f'diameter_{percent}')} px square"))
    lines.append(_line("ERF / TRF", _with_error(row, "erf_to_trf", 2)))
    lines.append(_line("Gaussian sigma", f"{_with_error(row, 'gaussian_sigma')} px" + _angle(row)))
    lines.append(_line("Gaussian R²", _with_error(row, "gaussian_r2", 3)))
    shapes = _or_none(field.compare_shapes)
    if shapes:
        lines.append(_line("shape", summaries.describe_shapes(shapes)))
    lines.append(_line("threshold size", f"{_with_error(row, 'threshold_size')} px (above 4.55 % of the centre)"))
    lines.append(_line("effective pixels", _with_error(row, "effective_pixels", 0)))
    return "\n".join(lines)


def _title(field: ERFMap) -> str:
    unit = "" if field.position is None else f", unit {field.position} of {times(field.grid or ())}"
    return f"Effective receptive field of layer {field.layer!r}{unit}"


def _samples(field: ERFMap) -> str:
    recipe = field.recipe
    words = MAGNITUDE_WORDS.get(recipe.get("magnitude", "abs"), f"magnitude {recipe.get('magnitude')}")
    left_out = f", {field.num_nonfinite} not finite and left out" if field.num_nonfinite else ""
    samples = f"{field.num_samples} sample" + "s" * (field.num_samples != 1)
    return (
        f"  {words} over {samples} of {times(field.values.shape)} ({field.num_dead} dead{left_out}); "
        f"{channel_words(recipe)}"
    )


def channel_words(recipe: dict[str, Any]) -> str:
    """What the unit's scalar is."""
    if recipe.get("neuron_selector") is not None:
        return f"neuron_selector {recipe['neuron_selector']}"
    channel = recipe.get("channel")
    if channel is None:
        return "sum over all channels, so that channels of opposite sign cancel"
    return "all channels with random signs" if channel == "random" else f"channel {channel}"


def _geometry(field: ERFMap) -> list[str]:
    trf = field.theoretical
    center = f"({', '.join(f'{value:g}' for value in field.center)}), the middle of the {_source(field)}"
    if trf is None:
        return [_line("unit centre", center)]
    if trf.is_global:
        size = "global: every input position can influence the unit"
    elif trf.is_clipped:
        size = f"at least {times(trf.size)} px; the network takes no other input size"
    else:
        size = f"{times(trf.size)} px, {100 * (trf.outside or 0):.1f} % of it outside the input"
    return [
        _line("theoretical field", size),
        _line("stride", f"{times(trf.stride)} px"),
        _line("unit centre", center),
    ]


def _source(field: ERFMap) -> str:
    return {"theoretical": "theoretical field", "input": "input"}.get(field.center_source, "unit's grid cell")


def _line(label: str, value: str) -> str:
    return f"  {label:<18} {value}"


def _with_error(row: dict[str, Any], key: str, digits: int = 1) -> str:
    return number(row[key], row[f"{key}_se"], digits)


def number(value: Number, error: Number, digits: int = 1) -> str:
    """A number, or numbers, with the standard error: ``31.0 ± 0.8``."""
    if value is None:
        return "none"
    if isinstance(value, list):
        errors = error if isinstance(error, list) else [None] * len(value)
        return ", ".join(number(one, its, digits) for one, its in zip(value, errors, strict=True))
    assert not isinstance(error, list)
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def _angle(row: dict[str, Any]) -> str:
    angle = row["gaussian_angle"]
    return "" if angle is None else f" at {angle:.0f}°"
