"""What theory says of a field before any is measured (Luo et al., NeurIPS 2016, section 2)."""

from .chains import gaussian_sigma, theoretical_size, uniform_stack
from .prediction import random_weights

__all__ = ["gaussian_sigma", "random_weights", "theoretical_size", "uniform_stack"]
