"""Figures: of one map, over a photograph, of many layers, of several models, the course of an error; and the page."""

from .convergence import convergence
from .many_maps import plot_layers
from .one_map import overlay, plot
from .page import write_page
from .several_models import plot_models

__all__ = ["convergence", "overlay", "plot", "plot_layers", "plot_models", "write_page"]
