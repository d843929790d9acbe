"""Radial profiles that a map is compared with: their values, and their slopes for least squares.

All are 1 in the middle and fall with the elliptical radius rho; they take its square, as that is smooth.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .arrays import FloatArray

Profile = Callable[[FloatArray, float], tuple[FloatArray, FloatArray, FloatArray | None]]

BETAS = (0.1, 10.0)  # free exponents, from a needle to a disc
ZERO = 1e-24  # stands in for rho^2 = 0, where rho has no slope


@dataclass(frozen=True)
class Family:
    """A profile: from rho^2 and a shape number to its value and its slopes along both (None: not fitted).

    ``scale`` is about its width over that of the Gaussian that fits it best, ``tolerance`` the share of the
    residual sum of squares that the last step may still gain, ``reach`` the rho beyond which it is below 1e-17.
    """

    name: str
    profile: Profile
    scale: float = 1.0
    tolerance: float = 1e-8
    reach: float = np.inf


def _gaussian(rho2: FloatArray, _: float) -> tuple[FloatArray, FloatArray, None]:
    value = np.exp(-0.5 * rho2)
    return value, -0.5 * value, None


def _laplace(rho2: FloatArray, _: float) -> tuple[FloatArray, FloatArray, None]:
    rho = np.sqrt(np.maximum(rho2, ZERO))
    value = np.exp(-rho)
    return value, -0.5 * value / rho, None


def _lorentzian(rho2: FloatArray, _: float) -> tuple[FloatArray, FloatArray, None]:
    value = 1 / (1 + rho2)
    return value, -np.square(value), None


def _disc(rho2: FloatArray, edge: float) -> tuple[FloatArray, FloatArray, None]:
    rho = np.sqrt(np.maximum(rho2, ZERO))
    value = 0.5 + 0.5 * np.tanh((1 - rho) / (2 * edge))
    return value, -0.5 * value * (1 - value) / (edge * rho), None


def _generalised(rho2: FloatArray, log_beta: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    beta = beta_of(log_beta)
    log_rho = 0.5 * np.log(np.maximum(rho2, ZERO))
    power = np.exp(np.minimum(beta * log_rho, 300.0))
    value = np.exp(-power / beta)
    slope = value * power
    return value, -0.5 * slope * np.exp(-2 * log_rho), slope * (1 / beta - log_rho)


def beta_of(log_beta: float) -> float:
    return float(np.exp(np.clip(log_beta, *np.log(BETAS))))


GAUSSIAN = Family("gaussian", _gaussian, reach=9.0)
LAPLACE = Family("laplace", _laplace, 0.7, reach=40.0)
LORENTZIAN = Family("lorentzian", _lorentzian, 0.8)
DISC = Family("uniform disc", _disc, 2.0, 1e-5)
GENERALISED = Family("generalised gaussian", _generalised)
