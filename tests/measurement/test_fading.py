"""Gradients that fade out into denormal numbers, with which a CPU is slow, are larger on their way."""

import numpy as np
import pytest
import torch
from oracle import mean_map
from torch import nn

from captum_erf import EffectiveReceptiveField


class Backward(torch.autograd.Function):
    """The identity, of which the backward pass is watched or changed."""

    @staticmethod
    def forward(ctx, x, change):
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.change(gradient), None


class Fading(nn.Module):
    """Branches with a tiny scale, as a ConvNeXt begins with; far from the unit a gradient goes through all of them."""

    def __init__(self, change=lambda gradient: gradient):
        super().__init__()
        self.change = change
        self.branches = nn.ModuleList(nn.Conv2d(2, 2, 5, padding=2) for _ in range(4))
        self.last = nn.Conv2d(2, 1, 1)

    def forward(self, x):
        x = x + x**3
        for branch in self.branches:
            x = x + 1e-8 * branch(x)
        return self.last(Backward.apply(x, self.change))


RIM = (12, 4)  # seen by the centre unit through all branches


@pytest.fixture
def images():
    return torch.randn(6, 2, 25, 25)


def expected(model, images):
    return mean_map(model.double(), model.last, images.double(), (12, 12))


@pytest.mark.parametrize("window", ["auto", False])
def test_maps_are_right_down_to_the_smallest_numbers(images, window):
    largest = []
    model = Fading(lambda gradient: largest.append(float(gradient.abs().max())) or gradient)
    found = EffectiveReceptiveField(model, "last").aggregate(images.split(2), window=window)
    assert largest[-1] > 1e15 > 1e9 * largest[0]
    truth = expected(model, images)
    assert 1e-38 < truth[RIM] < 1e-30
    np.testing.assert_allclose(found.values, truth, rtol=1e-4, atol=1e-37)


def test_a_backward_pass_that_clips_gradients_is_left_alone(images):
    model = Fading(lambda gradient: gradient.clamp(-0.2, 0.2))
    found = EffectiveReceptiveField(model, "last").aggregate(images.split(2))
    np.testing.assert_allclose(found.values, expected(model, images), rtol=1e-4, atol=1e-37)


def test_a_first_sample_that_does_not_activate_the_unit_decides_nothing(images):
    class Gated(Fading):
        def forward(self, x):
            return super().forward(x * (x[:, :1].amax((1, 2, 3), keepdim=True) > 0))

    images = images.abs()
    images[0] *= -1
    model = Gated(lambda gradient: gradient.clamp(-0.2, 0.2))
    found = EffectiveReceptiveField(model, "last").aggregate(images.split(3))
    assert found.num_dead == 1
    np.testing.assert_allclose(found.values, expected(model, images), rtol=1e-4, atol=1e-37)


def test_half_precision_on_the_way_has_no_room_for_larger_gradients(images):
    """Found out once: each batch is run once."""
    passes = []
    model = Fading(lambda gradient: passes.append(1) or gradient.half().float())
    accumulator = EffectiveReceptiveField(model, "last").accumulator()
    accumulator.update(images)
    accumulator.update(images)
    passes.clear()
    accumulator.update(images)
    assert len(passes) == 1


def test_gradients_that_are_too_large_for_it_later_are_taken_as_they_are(images):
    images = torch.cat([images, 1e10 * images])
    model = Fading()
    found = EffectiveReceptiveField(model, "last").aggregate(images.split(2))
    truth = expected(model, images)
    np.testing.assert_allclose(found.values, truth, rtol=1e-4, atol=1e-6 * truth.max())
