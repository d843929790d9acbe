"""Effective receptive fields of PyTorch networks (Luo et al., NeurIPS 2016) as a Captum attribution."""

from .attribution import EffectiveReceptiveField
from .layouts import channels_last, tokens

__version__ = "0.1.0"

__all__ = ["EffectiveReceptiveField", "channels_last", "tokens"]
