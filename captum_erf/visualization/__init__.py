"""Figures: a map with its theoretical field, all layers of a network side by side, and the course of an error."""

from .figures import convergence, plot, plot_layers

__all__ = ["convergence", "plot", "plot_layers"]
