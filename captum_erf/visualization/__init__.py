"""Figures: of one map, over a photograph, of many layers, of several models, and the course of an error."""

from .convergence import convergence
from .many_maps import plot_layers
from .one_map import plot
from .overlay import overlay
from .several_models import plot_models

__all__ = ["convergence", "overlay", "plot", "plot_layers", "plot_models"]
