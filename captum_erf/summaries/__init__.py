"""Numbers that summarise a map, as pure functions on an array and a centre."""

from .arrays import UndefinedStatistic
from .shapes import GaussianFit, ShapeFit, compare_shapes, describe_shapes, gaussian_fit
from .sizes import (
    Moments,
    RadiusMass,
    effective_pixels,
    moments,
    radius_mass,
    square_share,
    threshold_size,
)

__all__ = [
    "GaussianFit",
    "Moments",
    "RadiusMass",
    "ShapeFit",
    "UndefinedStatistic",
    "compare_shapes",
    "describe_shapes",
    "effective_pixels",
    "gaussian_fit",
    "moments",
    "radius_mass",
    "square_share",
    "threshold_size",
]
