"""Effective receptive fields of PyTorch networks (Luo et al., NeurIPS 2016) as a Captum attribution."""

from . import protocols, summaries, theory, visualization
from .attribution import EffectiveReceptiveField
from .erfmap import ERFMap
from .geometry.field import TheoreticalReceptiveField
from .geometry.theoretical import theoretical_receptive_field, theoretical_receptive_fields
from .measurement.accumulator import ERFAccumulator
from .network.layouts import channels_last, tokens
from .version import __version__ as __version__

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
