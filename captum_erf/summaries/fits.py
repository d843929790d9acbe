"""What a fit of a radial shape to a map has found, in numbers and in a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..text import listed
from .arrays import FloatArray
from .profiles import GAUSSIAN


class Ellipse:
    """Principal axes of a covariance over the spatial axes."""

    covariance: FloatArray

    @property
    def sigmas(self) -> FloatArray:
        """Square roots of the covariance's eigenvalues, in pixels, largest first."""
        return np.asarray(np.sqrt(np.linalg.eigvalsh(self.covariance)[::-1].clip(0)))

    @property
    def angle(self) -> float | None:
        """Direction of the longest axis in degrees, above -90 and up to 90; None unless there are two axes.

        0 is along the last axis (x, to the right). Positive angles turn counter-clockwise in the image as
        seen with its first row at the top: at 45 the ellipse points to the upper right.
        """
        if len(self.covariance) != 2:
            return None
        down, right = np.linalg.eigh(self.covariance)[1][:, -1]
        return float(90 - (90 - np.degrees(np.arctan2(-down, right))) % 180)

    def _axes(self) -> str:
        angle = "" if self.angle is None else f"; angle {self.angle:.4g} degrees"
        return f"sigmas {listed(self.sigmas)} px{angle}"


@dataclass(frozen=True, eq=False, repr=False)
class ShapeFit(Ellipse):
    """
    The fit of ``background + amplitude * profile(rho)``, rho^2 = (q - mean)' covariance^-1 (q - mean).

    Attributes:
        family (str): Name of the profile, one of those listed at :func:`compare_shapes`.
        amplitude (float): Height over the background, in units of the map.
        background (float): Constant level, in units of the map.
        mean (ndarray): Centre per axis in pixels (0 is the middle of the first); it may lie outside the map.
        covariance (ndarray): Of shape ``(D, D)``, in squared pixels: the ellipse where rho is 1. Only for the
            Gaussian is it the covariance of the shape itself.
        beta (float or None): Exponent of the generalised Gaussian; None for the other families.
        r2 (float): Share of the variance over pixels, of the map or of a part of it, that the fit explains.
        aic (float): Akaike's n log(RSS / n) + 2 k for n pixels and k free parameters. As neighbouring pixels are
            not independent, differences rank the families but are no odds.

    Examples::

        >>> from captum_erf.summaries import compare_shapes
        >>> best = compare_shapes(np.exp(-abs(np.arange(40) - 15) / 4))[0]
        >>> best.family, best.mean.round(6), best.sigmas.round(6)
        ('laplace', array([15.]), array([4.]))
    """

    family: str
    amplitude: float
    background: float
    mean: FloatArray
    covariance: FloatArray
    beta: float | None
    r2: float
    aic: float

    def __repr__(self) -> str:
        beta = "" if self.beta is None else f"beta {self.beta:.4g}; "
        return (
            f"{type(self).__name__}({self.family}: R^2 {self.r2:.4g}; {beta}mean {listed(self.mean)} px; "
            f"{self._axes()}; amplitude {self.amplitude:.4g}; background {self.background:.4g})"
        )


class GaussianFit(ShapeFit):
    """
    The fit of a Gaussian, ``background + amplitude * exp(-rho^2 / 2)``.

    Attributes:
        sigma (float): One number for its width, in pixels.
        family, amplitude, background, mean, covariance, beta, r2, aic: As in :class:`ShapeFit`.
    """

    @property
    def sigma(self) -> float:
        """Geometric mean of the sigmas, in pixels: unlike the largest one it does not grow with noise."""
        return float(np.prod(self.sigmas) ** (1 / len(self.sigmas)))


def describe_shapes(fits: Sequence[ShapeFit]) -> str:
    """
    Says in one sentence which family of :func:`compare_shapes` fits best, and how well a Gaussian does.

    Args:
        fits (sequence of ShapeFit): As :func:`compare_shapes` gives them.

    Returns:
        *str*

    Examples::

        >>> from captum_erf.summaries import compare_shapes
        >>> y, x = np.mgrid[:40, :40]
        >>> describe_shapes(compare_shapes(np.exp(-np.hypot(y - 15, x - 20) / 4)))
        'best: laplace, R^2 1.000; gaussian R^2 0.963'
    """
    best, gaussian = fits[0], next(fit for fit in fits if fit.family == GAUSSIAN.name)
    beta = "" if best.beta is None else f", beta {best.beta:.2f}"
    rest = "" if best is gaussian else f"; gaussian R^2 {gaussian.r2:.3f}"
    return f"best: {best.family}{beta}, R^2 {best.r2:.3f}{rest}"
