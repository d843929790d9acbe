"""Closed forms of chains of all-ones convolutions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captum_erf import summaries, theory


@pytest.mark.parametrize(("num_layers", "kernel_size"), [(1, 3), (4, 2), (5, 3), (3, 7), (30, 5)])
def test_uniform_stack_is_the_repeated_convolution(num_layers, kernel_size):
    line = np.ones(1)
    for _ in range(num_layers):
        line = np.convolve(line, np.full(kernel_size, 1 / kernel_size))
    np.testing.assert_allclose(theory.uniform_stack(num_layers, kernel_size, 1), line, rtol=1e-12)


def test_two_wide_kernels_give_binomial_coefficients():
    expected = [math.comb(60, i) / 2**60 for i in range(61)]
    assert theory.uniform_stack(60, 2, 1).tolist() == expected


@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_uniform_stack_is_an_outer_product_that_sums_to_one(num_dims):
    values, line = theory.uniform_stack(4, 3, num_dims), theory.uniform_stack(4, 3, 1)
    assert values.shape == (9,) * num_dims
    assert values.dtype == np.float64
    assert values.sum() == pytest.approx(1, abs=1e-15)
    np.testing.assert_allclose(values[(2,) * (num_dims - 1)], line * line[2] ** (num_dims - 1), rtol=1e-14)


def test_uniform_stack_has_two_dimensions_unless_told():
    assert theory.uniform_stack(2, 3).shape == (5, 5)


def test_no_layer_is_a_single_pixel():
    assert theory.uniform_stack(0, 3).tolist() == [[1.0]]


def test_deep_stacks_keep_their_faintest_corner():
    assert theory.uniform_stack(600, 3, 1)[0] == pytest.approx(3.0**-600, rel=1e-14)


@pytest.mark.parametrize(("power", "slopes"), [(1, (0.481, -0.480)), (0.5, (0.532, -0.429))], ids=["equal", "random"])
def test_growth_with_depth_of_equal_and_of_random_weights(power, slopes):
    """Luo et al., figure 3; the mean |dy/dx| of random weights is the root of the mean square, the stack's."""
    depths = np.array([5, 7, 10, 14, 20, 28, 40])
    maps = {depth: theory.uniform_stack(depth, 3) ** power for depth in depths}
    sizes = np.array([summaries.threshold_size(values, (depth, depth)) for depth, values in maps.items()])
    found = [np.polyfit(np.log(depths), np.log(line), 1)[0] for line in (sizes, sizes / (2 * depths + 1))]
    np.testing.assert_allclose(found, slopes, atol=5e-4)


@pytest.mark.parametrize("arguments", [(-1, 3, 2), (2, 0, 2), (2, 3, 0)])
def test_uniform_stack_refuses_numbers_that_are_too_small(arguments):
    with pytest.raises(ValueError, match=r"expected num_layers of at least 0"):
        theory.uniform_stack(*arguments)


@given(st.integers(1, 40), st.integers(1, 11))
def test_sigma_of_equal_layers(num_layers, kernel_size):
    sigma = theory.gaussian_sigma([(kernel_size, 1, 1)] * num_layers)
    assert sigma == pytest.approx(math.sqrt(num_layers * (kernel_size**2 - 1) / 12))


layers_1d = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)), max_size=5)


@given(layers_1d)
def test_chains_agree_with_their_impulse_response(layers):
    line, jump = np.ones(1), 1
    for kernel, stride, dilation in layers:
        spread = np.zeros((kernel - 1) * dilation * jump + 1)
        spread[:: dilation * jump] = 1 / kernel
        line = np.convolve(line, spread)
        jump *= stride
    place = np.arange(len(line)) - (len(line) - 1) / 2
    assert theory.theoretical_size(layers) == len(line)
    assert theory.gaussian_sigma(layers) == pytest.approx(math.sqrt(line @ place**2))


@given(layers_1d, layers_1d.filter(bool))
def test_axes_are_independent(first, second):
    second = (second * 6)[: len(first)]
    both = [tuple(zip(one, two, strict=True)) for one, two in zip(first, second, strict=True)]
    if both:
        assert theory.theoretical_size(both) == (theory.theoretical_size(first), theory.theoretical_size(second))
        assert theory.gaussian_sigma(both) == (theory.gaussian_sigma(first), theory.gaussian_sigma(second))


def test_an_int_counts_for_every_axis_beside_a_tuple():
    assert theory.theoretical_size([((3, 5, 1), 2, 1), (3, 1, 1)]) == (7, 9, 5)


def test_an_empty_chain_is_one_pixel():
    assert theory.theoretical_size([]) == 1
    assert theory.gaussian_sigma([]) == 0.0


@pytest.mark.parametrize("function", [theory.gaussian_sigma, theory.theoretical_size])
@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([(3, 1)], r"got \[\(3, 1\)\]; expected one \(kernel, stride, dilation\)"),
        ([3, 3], r"got \[3, 3\]; expected one \(kernel, stride, dilation\)"),
        ([(3, 0, 1)], r"strides and dilations of at least 1"),
        ([((3, 3), (1, 1, 1), 1)], r"got entries for \[2, 3\] axes"),
    ],
    ids=["pair", "ints", "zero stride", "axes differ"],
)
def test_malformed_chains_are_refused(function, layers, message):
    with pytest.raises(ValueError, match=message):
        function(layers)
