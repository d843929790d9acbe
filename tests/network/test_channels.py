"""The unit's channels: one, several, all, with random signs, or any function of them."""

import random

import numpy as np
import pytest
import torch
from oracle import gradient
from torch import nn
from torch.testing import assert_close
from whole import random_states

from captum_erf import EffectiveReceptiveField
from captum_erf.network.units import read_channels

INPUTS = torch.randn(3, 2, 9, 9, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 3))


@pytest.fixture
def erf(model):
    return EffectiveReceptiveField(model, "2")


@pytest.fixture
def by_channel(model):
    """Signed gradients of each channel of the centre unit: (5, N, C_in, H, W)."""
    return torch.stack([gradient(model, model[2], INPUTS, lambda y, c=c: y[:, c, 2, 2]) for c in range(5)])


@pytest.mark.parametrize(
    ("channel", "weights"),
    [
        (None, [1, 1, 1, 1, 1]),
        (3, [0, 0, 0, 1, 0]),
        (-1, [0, 0, 0, 0, 1]),
        (np.int64(2), [0, 0, 1, 0, 0]),
        ([0, 3], [1, 0, 0, 1, 0]),
        ((4,), [0, 0, 0, 0, 1]),
        (range(1, 3), [0, 1, 1, 0, 0]),
        (lambda values: 2 * values[:, 1] - values[:, 0], [-1, 2, 0, 0, 0]),
        (lambda values: values[:, :1], [1, 0, 0, 0, 0]),
    ],
    ids=["all", "one", "last", "NumPy int", "list", "tuple", "range", "callable", "callable to (N, 1)"],
)
def test_the_scalar_is_the_sum_of_the_chosen_channels(erf, by_channel, channel, weights):
    expected = torch.einsum("c,cnihw->nihw", torch.tensor(weights).float(), by_channel)
    assert_close(erf.attribute(INPUTS, channel=channel, abs=False), expected)
    assert_close(erf.attribute(INPUTS, channel=channel), expected.abs())


def test_a_callable_may_be_nonlinear(erf, by_channel, model):
    values = model(INPUTS)[:, :, 2, 2]
    assert 0 < (values > 0).sum() < values.numel()
    expected = torch.einsum("nc,cnihw->nihw", (values > 0).float(), by_channel)
    assert_close(erf.attribute(INPUTS, channel=lambda v: v.relu().sum(1), abs=False), expected)


def test_random_signs_are_independent_per_sample_and_channel():
    torch.manual_seed(0)
    values = torch.eye(6).repeat(500, 1)
    signs = read_channels(values, "random").unflatten(0, (500, 6))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert signs.mean(0).abs().max() < 5 / 500**0.5
    correlations = (signs.T @ signs) / 500 - torch.eye(6)
    assert correlations.abs().max() < 5 / 500**0.5


def test_random_signs_come_from_torchs_generator(erf):
    torch.manual_seed(1)
    first, second = (erf.attribute(INPUTS, channel="random") for _ in range(2))
    torch.manual_seed(1)
    assert_close(erf.attribute(INPUTS, channel="random"), first)
    assert not torch.allclose(first, second)
    torch.manual_seed(1)
    field = erf.aggregate([INPUTS], channel="random", window=False)
    assert_close(torch.tensor(field.values), first.sum(1).mean(0).double())


def test_random_signs_draw_the_gradient_of_signed_channels(erf, by_channel):
    torch.manual_seed(4)
    found = erf.attribute(INPUTS, channel="random", abs=False)
    torch.manual_seed(4)
    signs = torch.randint(0, 2, (3, 5)) * 2.0 - 1
    assert_close(found, torch.einsum("nc,cnihw->nihw", signs, by_channel))


def test_mean_square_over_random_signs_is_the_sum_over_channels_of_squares(erf, by_channel):
    """Sound whatever sign a channel has: cross terms vanish in the mean (issue 2, channel="random")."""
    draws = 4000
    batch = INPUTS[:1].expand(draws, -1, -1, -1)
    squares = erf.attribute(batch, channel="random", abs=False).square()
    expected = by_channel[:, 0].square().sum(0)
    error = squares.std(0) / draws**0.5
    seen = expected > 0
    assert seen.sum() == 2 * 25
    assert ((squares.mean(0) - expected)[seen].abs() < 5 * error[seen] + 1e-9).all()
    assert (squares.mean(0) - expected).sum().abs() < 0.05 * expected.sum()
    assert (expected.sum() - by_channel[:, 0].sum(0).square().sum()).abs() > 0.1 * expected.sum()


def test_aggregate_with_random_signs_and_squares(erf, by_channel):
    batches = [INPUTS[:1].expand(500, -1, -1, -1)] * 8
    field = erf.aggregate(batches, channel="random", magnitude="square")
    expected = by_channel[:, 0].square().sum(0).sum(0)
    assert abs(field.values.sum() - float(expected.sum())) < 0.05 * float(expected.sum())


@pytest.mark.parametrize("channel", [9, -6, [0, 5]], ids=["too large", "too small", "in a list"])
def test_a_channel_outside_is_an_index_error(erf, channel):
    with pytest.raises(IndexError, match=r"channel (9|-6|5) is outside the layer's 5 channels; use 0 to 4"):
        erf.attribute(INPUTS, channel=channel)


@pytest.mark.parametrize(
    "channel", ["all", [], 1.0, [0.5], True, [True, False], {0}, ["0"]], ids=lambda channel: repr(channel)
)
@pytest.mark.parametrize("method", ["attribute", "aggregate"])
def test_what_names_no_channel_is_refused(erf, channel, method):
    with pytest.raises(ValueError, match="channel must be None, an int, a sequence of ints"):
        getattr(erf, method)(INPUTS if method == "attribute" else [INPUTS], channel=channel)


@pytest.mark.parametrize(
    ("channel", "got"),
    [(lambda v: v, r"\(3, 5\)"), (lambda v: v.sum(), r"\(\)"), (lambda v: 1.0, "float")],
    ids=["matrix", "one number", "no tensor"],
)
def test_a_callable_must_give_one_scalar_per_sample(erf, channel, got):
    with pytest.raises(
        ValueError, match=rf"callable channel must return one scalar per sample, shape \(3,\), got {got}"
    ):
        erf.attribute(INPUTS, channel=channel)


class Draws(nn.Sequential):
    """Random in every pass, in three ways."""

    def forward(self, images):
        scale = 1 + random.random() + np.random.rand()  # noqa: NPY002
        return super().forward(images * scale * torch.rand(len(images), 1, 1, 1))


def test_a_generator_keeps_all_other_random_numbers_as_they_were():
    model, before = Draws(nn.Conv2d(3, 4, 3)), random_states()
    erf = EffectiveReceptiveField(model, "0")
    loader = [torch.ones(4, 3, 12, 12)] * 2

    def measure(seed):
        return erf.aggregate(loader, channel="random", generator=torch.Generator().manual_seed(seed)).values

    first = measure(0)
    assert random_states() == before
    torch.rand(7)
    assert (measure(0) == first).all()
    assert not np.allclose(measure(1), first)


def test_batches_draw_other_numbers_of_a_generator_one_after_the_other():
    erf, inputs = EffectiveReceptiveField(Draws(nn.Conv2d(3, 4, 3)), "0"), torch.ones(4, 3, 12, 12)
    generator = torch.Generator().manual_seed(0)
    once, again = (erf.aggregate([inputs], channel="random", generator=generator).values for _ in range(2))
    assert not np.allclose(once, again)


def test_a_generator_must_be_one_of_torchs(erf):
    with pytest.raises(TypeError, match=r"must be a torch.Generator or None, got a int; pass torch.Generator\(\)"):
        erf.aggregate([INPUTS], generator=0)
