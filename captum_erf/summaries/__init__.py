"""Numbers that summarise a map, as pure functions on an array and a centre."""

from .arrays import UndefinedStatistic
from .fits import GaussianFit, ShapeFit, describe_shapes
from .mass import RadiusMass
from .moments import Moments, moments
from .prediction import share_of_theory
from .shapes import compare_shapes, gaussian_fit
from .sizes import (
    effective_pixels,
    equivalent_width,
    extent,
    radius_mass,
    square_share,
    tail_ratio,
    threshold_size,
)
from .stepped import SteppedRadiusMass, stepped_radius_mass

__all__ = [
    "GaussianFit",
    "Moments",
    "RadiusMass",
    "ShapeFit",
    "SteppedRadiusMass",
    "UndefinedStatistic",
    "compare_shapes",
    "describe_shapes",
    "effective_pixels",
    "equivalent_width",
    "extent",
    "gaussian_fit",
    "moments",
    "radius_mass",
    "share_of_theory",
    "square_share",
    "stepped_radius_mass",
    "tail_ratio",
    "threshold_size",
]
