"""Inputs, strides and kernels that differ from axis to axis: every number and picture is right on each."""

from functools import reduce

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle
from torch import nn

from captum_erf import EffectiveReceptiveField, theory
from captum_erf.visualization import plot_layers

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def all_ones(layers, dims):
    """A chain of convolutions of one channel whose weights are all equal, each ``(kernel, stride, dilation)``."""
    net = nn.Sequential(*[CONV[dims](1, 1, k, s, dilation=d, bias=False) for k, s, d in layers])
    for layer in net:
        nn.init.constant_(layer.weight, 1 / layer.weight.numel())
    return net


def exact(layers, dims):
    """The map of such a chain: per axis the product of the layers' polynomials, and their outer product."""
    lines = []
    for axis in range(dims):
        line, jump = np.ones(1), 1
        for kernel, stride, dilation in layers:
            taps = np.zeros((kernel[axis] - 1) * jump * dilation[axis] + 1)
            taps[:: jump * dilation[axis]] = 1 / kernel[axis]
            line, jump = np.convolve(line, taps), jump * stride[axis]
        lines.append(line)
    return reduce(np.multiply.outer, lines)


CHAINS = {
    "long kernels": ([((3, 7), (1, 1), (1, 1))] * 3, (31, 52)),
    "strides": ([((3, 5), (1, 2), (1, 1)), ((3, 3), (2, 1), (1, 1)), ((3, 3), (1, 1), (1, 1))], (40, 33)),
    "dilation": ([((3, 3), (1, 1), (3, 1)), ((5, 3), (1, 1), (1, 2))], (25, 29)),
    "frames before pixels": ([((3, 1, 1), (1, 1, 1), (1, 1, 1)), ((1, 5, 3), (1, 2, 1), (1, 1, 1))] * 2, (9, 30, 14)),
    "thick slices": ([((1, 3, 3), (1, 1, 1), (1, 1, 1)), ((3, 3, 3), (1, 1, 1), (1, 1, 2))], (6, 16, 20)),
}


@pytest.fixture(params=CHAINS)
def case(request):
    layers, size = CHAINS[request.param]
    dims = len(size)
    net = all_ones(layers, dims)
    field = EffectiveReceptiveField(net, str(len(net) - 1)).aggregate([torch.randn(4, 1, *size)])
    return layers, size, field


def test_map_and_geometry(case):
    layers, size, field = case
    trf, expected = field.theoretical, exact(layers, len(size))
    assert trf.size == expected.shape == theory.theoretical_size(layers)
    assert trf.stride == tuple(np.prod([s for _, s, _ in layers], axis=0))
    assert field.center == tuple(low + (n - 1) / 2 for low, n in zip(trf.lower, trf.size, strict=True))
    inside = tuple(slice(low, high) for low, high in zip(trf.lower, trf.upper, strict=True))
    np.testing.assert_allclose(field.values[inside], expected, rtol=1e-5, atol=1e-9)
    assert field.values.sum() == pytest.approx(expected.sum())


def test_moments_and_sigmas_are_those_of_each_axis(case):
    layers, _, field = case
    sigmas = np.array(theory.gaussian_sigma(layers))
    moments = field.moments()
    np.testing.assert_allclose(moments.centroid, field.center, atol=1e-4)
    np.testing.assert_allclose(moments.covariance, np.diag(sigmas**2), atol=1e-3)
    np.testing.assert_allclose(moments.sigmas, np.sort(sigmas)[::-1], rtol=1e-4)


def share_within(values, box):
    """The share of a map's sum in a box, each pixel being an even square of side 1."""
    overlaps = [
        np.clip(np.minimum(upper, np.arange(n) + 0.5) - np.maximum(lower, np.arange(n) - 0.5), 0, 1)
        for (lower, upper), n in zip(box, values.shape, strict=True)
    ]
    return (values * reduce(np.multiply.outer, overlaps)).sum() / values.sum()


def test_boxes_hold_their_share_and_no_cube_elsewhere_holds_more(case):
    _, size, field = case
    mass, generator = field.radius_mass(), np.random.default_rng(0)
    for share in (0.3, 0.5, 0.9):
        box = np.array(mass.box(share))
        np.testing.assert_allclose(np.diff(box), mass.diameter(share))
        assert share_within(field.values, box) == pytest.approx(share, abs=1e-9)
        for shift in generator.uniform(-3, 3, (50, len(size), 1)):
            assert share_within(field.values, box + shift) <= share + 1e-9
    row = field.summary()
    assert row["erf_to_trf"] == pytest.approx(row["diameter_95"] / max(row["trf_size"]))


def test_the_fitted_gaussian_lies_along_the_longer_axis():
    layers, size = [((3, 7), (1, 1), (1, 1))] * 6, (40, 64)
    for turned in (False, True):
        chain = [(k[::-1], s, d) for k, s, d in layers] if turned else layers
        net = all_ones(chain, 2)
        field = EffectiveReceptiveField(net, "5").aggregate([torch.randn(2, 1, *(size[::-1] if turned else size))])
        fit = field.gaussian_fit()
        assert fit.sigmas == pytest.approx((np.sqrt(6 * 48 / 12), 2.0), rel=0.05)
        assert abs(fit.angle) == pytest.approx(90 if turned else 0, abs=0.1)


def test_three_central_slices_each_with_its_own_box():
    layers, size = CHAINS["frames before pixels"]
    net = all_ones(layers, 3)
    field = EffectiveReceptiveField(net, "3").aggregate([torch.randn(2, 1, *size)])
    trf, figure = field.theoretical, field.plot()
    for axes, plane in zip(figure.axes, [(1, 2), (0, 2), (0, 1)], strict=False):
        (across,) = {0, 1, 2} - set(plane)
        middle = int(np.floor(field.center[across] + 0.5))
        candidates = [field.values.take(place, across) for place in (middle, middle - 1)]
        drawn = axes.images[0].get_array() * field.values.max()
        assert any(np.allclose(drawn, slice_, atol=1e-12) for slice_ in candidates)
        corner = (trf.lower[plane[1]] - 0.5, trf.lower[plane[0]] - 0.5)
        drawn_boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        places = [(*box.get_xy(), box.get_width(), box.get_height()) for box in drawn_boxes]
        assert (*corner, trf.size[plane[1]], trf.size[plane[0]]) in places
        assert axes.get_xlabel() == f"{'zyx'[plane[1]]} [px]"
        assert axes.get_ylabel() == f"{'zyx'[plane[0]]} [px]"
    plot_layers([field, field]).draw_without_rendering()


def test_the_report_names_every_axis(case):
    _, size, field = case
    words = str(field)
    assert " x ".join(map(str, size)) in words
    assert " x ".join(map(str, field.theoretical.size)) in words
