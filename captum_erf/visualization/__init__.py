"""Figures: a map with its theoretical field, all layers of a network side by side, and the course of an error."""

from .figures import convergence, plot, plot_layers
from .page import write_page

__all__ = ["convergence", "plot", "plot_layers", "write_page"]
