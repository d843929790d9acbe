"""Effective receptive fields of PyTorch networks (Luo et al., NeurIPS 2016) as a Captum attribution."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

if TYPE_CHECKING:
    from . import protocols, summaries, theory, visualization
    from .attribution import EffectiveReceptiveField
    from .erfmap import ERFMap
    from .geometry.field import TheoreticalReceptiveField
    from .geometry.theoretical import theoretical_receptive_field, theoretical_receptive_fields
    from .measurement.accumulator import ERFAccumulator
    from .network.layouts import channels_last, tokens

__all__ = [
    "ERFAccumulator",
    "ERFMap",
    "EffectiveReceptiveField",
    "TheoreticalReceptiveField",
    "channels_last",
    "protocols",
    "summaries",
    "theoretical_receptive_field",
    "theoretical_receptive_fields",
    "theory",
    "tokens",
    "visualization",
]

_HOMES = {
    "ERFAccumulator": "measurement.accumulator",
    "ERFMap": "erfmap",
    "EffectiveReceptiveField": "attribution",
    "TheoreticalReceptiveField": "geometry.field",
    "channels_last": "network.layouts",
    "theoretical_receptive_field": "geometry.theoretical",
    "theoretical_receptive_fields": "geometry.theoretical",
    "tokens": "network.layouts",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for (PEP 562), so that ``captum-erf --help`` need not wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _HOMES:
        globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        return globals()[name]
    return import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
