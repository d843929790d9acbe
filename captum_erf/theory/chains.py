"""Closed forms to check a measurement against (Luo et al., NeurIPS 2016, section 2).

A stack of convolutions whose weights are all equal has a known effective receptive field: the
coefficients of a polynomial, which tend to a Gaussian whose variance is the sum of the layers'
variances. The functions here give that map, its sigma and the theoretical receptive field.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

Size = int | tuple[int, ...]
Layer = tuple[Size, Size, Size]


def uniform_stack(num_layers: int, kernel_size: int, num_dims: int = 2) -> NDArray[np.float64]:
    """
    Gives the exact effective receptive field of stacked all-ones convolutions of stride 1.

    On each axis it is the coefficients of ((1 + x + ... + x^(k-1)) / k)^n (Luo et al., 2016,
    section 2.1), reckoned in whole numbers and rounded once; the map is their outer product.

    For random weights it is the shape of the mean squared gradient, so that its square root is that of mean |dy/dx|.

    Args:
        num_layers (int): n, the number of convolutions; 0 gives a single pixel.
        kernel_size (int): k, the side of every kernel in pixels.
        num_dims (int): Number of spatial dimensions.

    Returns:
        *ndarray* with ``num_layers * (kernel_size - 1) + 1`` pixels on each of ``num_dims`` axes; it sums to 1.

    Raises:
        ValueError: A number is too small.

    Examples::

        >>> uniform_stack(2, 3, num_dims=1) * 9
        array([1., 2., 3., 2., 1.])
        >>> uniform_stack(5, 3).shape
        (11, 11)
    """
    if num_layers < 0 or kernel_size < 1 or num_dims < 1:
        raise ValueError(
            f"got num_layers={num_layers}, kernel_size={kernel_size}, num_dims={num_dims}; "
            "expected num_layers of at least 0, and kernel_size and num_dims of at least 1"
        )
    kernel = np.array([1] * kernel_size, dtype=object)
    coefficients = reduce(np.convolve, [kernel] * num_layers, np.array([1], dtype=object))
    line = (coefficients / kernel_size**num_layers).astype(np.float64)
    return reduce(np.multiply.outer, [line] * num_dims)


def gaussian_sigma(layers: Sequence[Layer]) -> float | tuple[float, ...]:
    """
    Gives the standard deviation, in input pixels, of the field of a chain of all-ones convolutions.

    sigma^2 is the sum over layers of (jump * dilation)^2 * (kernel^2 - 1) / 12, where jump is the
    product of the strides before the layer. For n equal layers of stride 1 this is
    sqrt(n * (k^2 - 1) / 12) (Luo et al., 2016, section 2).

    Args:
        layers (sequence of tuple): ``(kernel, stride, dilation)`` of each layer, input first; each an int, or a
            tuple with one int per axis.

    Returns:
        *float* where every entry is an int; *tuple* of one float per axis where any is a tuple.

    Raises:
        ValueError: A layer is not such a triple, an entry is below 1, or tuples differ in length.

    Examples::

        >>> round(gaussian_sigma([(3, 1, 1)] * 6), 6)
        2.0
        >>> gaussian_sigma([((1, 5), 1, 1), ((1, 5), 1, 1)])
        (0.0, 2.0)
    """
    kernels, steps, per_axis = _chain(layers)
    sigmas = np.sqrt((steps**2 * (kernels**2 - 1) / 12).sum(axis=0)).tolist()
    return tuple(sigmas) if per_axis else float(sigmas[0])


def theoretical_size(layers: Sequence[Layer]) -> int | tuple[int, ...]:
    """
    Gives the side, in input pixels, of the theoretical receptive field of a chain of layers.

    It is 1 plus the sum over layers of jump * dilation * (kernel - 1), where jump is the product of
    the strides before the layer.

    Args:
        layers (sequence of tuple): ``(kernel, stride, dilation)`` of each convolution or pooling, input first;
            each an int, or a tuple with one int per axis.

    Returns:
        *int* where every entry is an int; *tuple* of one int per axis where any is a tuple.

    Raises:
        ValueError: A layer is not such a triple, an entry is below 1, or tuples differ in length.

    Examples::

        >>> theoretical_size([(7, 2, 1), (3, 2, 1), (3, 1, 2)])
        27
        >>> theoretical_size([((3, 5), 1, 1)])
        (3, 5)
    """
    kernels, steps, per_axis = _chain(layers)
    sizes = (1 + (steps * (kernels - 1)).sum(axis=0)).tolist()
    return tuple(sizes) if per_axis else int(sizes[0])


def _chain(layers: Sequence[Layer]) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
    """Kernels and steps (jump * dilation), both (layers, axes), and whether any was given per axis."""
    if any(not isinstance(layer, Sequence) or len(layer) != 3 for layer in layers):
        raise ValueError(f"got {list(layers)!r}; expected one (kernel, stride, dilation) for each layer")
    lengths = {len(entry) for layer in layers for entry in layer if isinstance(entry, Sequence)}
    if len(lengths) > 1:
        raise ValueError(f"got entries for {sorted(lengths)} axes; expected one int per axis in every tuple")
    num_dims = max(lengths, default=1)
    rows = [[np.broadcast_to(entry, num_dims) for entry in layer] for layer in layers]
    table = np.array(rows, dtype=np.int64).reshape(-1, 3, num_dims)
    if (table < 1).any():
        raise ValueError(f"got {list(layers)!r}; expected kernels, strides and dilations of at least 1")
    kernels, strides, dilations = table.transpose(1, 0, 2)
    jumps = np.ones_like(strides)
    jumps[1:] = np.cumprod(strides[:-1], axis=0)
    return kernels, jumps * dilations, bool(lengths)
