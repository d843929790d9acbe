"""Sample maps over their own sums: no sample weighs more for having larger gradients."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from captum_erf import EffectiveReceptiveField, ERFMap, protocols

IMAGES = torch.randn(10, 3, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LOUDNESS = torch.logspace(-3, 3, 10, dtype=torch.float64)[:, None, None, None]


class OwnGradient(nn.Module):
    """A network whose gradient is its input, so that sample maps can be dealt out."""

    def __init__(self):
        super().__init__()
        self.last = nn.Identity()

    def forward(self, inputs):
        spatial = tuple(range(2, inputs.ndim))
        return self.last((inputs.square() / 2).sum(spatial, keepdim=True))


def measure(maps, **options):
    return EffectiveReceptiveField(OwnGradient(), "last").aggregate([torch.as_tensor(maps)[:, None]], **options)


@pytest.fixture
def erf(convnet):
    return EffectiveReceptiveField(convnet.double(), "4")


@pytest.mark.parametrize("window", ["auto", False])
@pytest.mark.parametrize(
    "magnitude",
    ["abs", "square", "positive", lambda g: g.abs().amax(1)],
    ids=lambda item: item if isinstance(item, str) else "callable" if callable(item) else str(item),
)
def test_is_the_mean_of_maps_over_their_sums(erf, magnitude, window):
    formulas = {"abs": lambda g: g.abs().sum(1), "square": lambda g: (g**2).sum(1)}
    formulas["positive"] = lambda g: g.clamp(min=0).sum(1)
    formula = formulas.get(magnitude, magnitude)
    expected = np.zeros((20, 20))
    for image in IMAGES:
        one = formula(erf.attribute(image[None], abs=False))[0].numpy()
        expected += one / one.sum() / len(IMAGES)
    field = erf.aggregate(IMAGES.split(4), magnitude=magnitude, normalize=True, window=window)
    assert_allclose(field.values, expected, rtol=1e-9, atol=1e-15)
    assert field.recipe["route"].startswith("window" if window == "auto" else "whole")
    assert field.values.sum() == pytest.approx(1)
    assert field.groups.effective_samples() == pytest.approx(10)


def test_every_sample_weighs_the_same_however_loud_it_is():
    maps = np.random.default_rng(0).random((10, 8, 8))
    quiet, loud = (measure(maps * scale, normalize=True) for scale in (1, LOUDNESS[:, 0].numpy()))
    assert_allclose(loud.groups.sums, quiet.groups.sums, rtol=1e-12)
    assert measure(maps * LOUDNESS[:, 0].numpy()).groups.effective_samples() < 2


def test_two_samples_by_hand():
    field = measure([[1.0, 3.0, 0.0], [300.0, 0.0, 100.0]], normalize=True, groups=2)
    assert_allclose(field.values, [0.5, 0.375, 0.125], rtol=1e-15)
    assert_allclose(field.groups.sums, [[0.25, 0.75, 0], [0.75, 0, 0.25]], rtol=1e-15)


def test_dead_samples_stay_dead_and_part_of_the_mean():
    field = measure([[1.0, 3.0], [0.0, 0.0], [2.0, 2.0], [0.0, 0.0]], normalize=True)
    assert (field.num_samples, field.num_dead) == (4, 2)
    assert_allclose(field.values, [0.75 / 4, 1.25 / 4], rtol=1e-15)


@pytest.mark.parametrize("size", [1e-300, 1e307], ids=["tiny", "huge"])
def test_neither_tiny_nor_huge_gradients_are_lost(size):
    field = measure(np.full((1, 40), size), normalize=True)
    assert field.num_dead == 0
    assert_allclose(field.values, 1 / 40, rtol=1e-14)


def test_samples_that_are_not_finite_are_left_out():
    maps = torch.tensor([[1.0, 3.0], [torch.inf, 1.0], [torch.nan, 1.0]])
    field = measure(maps, normalize=True, nonfinite="skip")
    assert (field.num_samples, field.num_nonfinite) == (1, 2)
    assert_allclose(field.values, [0.25, 0.75])


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_merged_and_loaded_sums_equal_those_of_one_pass(erf, cut):
    def accumulated(images):
        accumulator = erf.accumulator(positions=["center", "corner"], normalize=True)
        accumulator.update(images)
        return accumulator

    images = LOUDNESS * IMAGES
    first, whole = accumulated(images[:cut]), accumulated(images)
    loaded = erf.accumulator(positions=["center", "corner"], normalize=True)
    loaded.load_state_dict(first.state_dict())
    loaded.merge(accumulated(images[cut:]))
    for field, expected in zip(loaded.compute(), whole.compute(), strict=True):
        assert_allclose(field.groups.sums, expected.groups.sums, rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("way", ["merge", "load"])
def test_sums_of_maps_as_they_are_do_not_belong_to_them(erf, way):
    plain, normalized = erf.accumulator(), erf.accumulator(normalize=True)
    plain.update(IMAGES)
    with pytest.raises(ValueError, match="normalize is True here and False there"):
        normalized.merge(plain) if way == "merge" else normalized.load_state_dict(plain.state_dict())
    assert normalized.num_samples == 0


def test_the_recipe_and_the_report_tell(erf, tmp_path):
    field, plain = (erf.aggregate([IMAGES], normalize=normalize) for normalize in (True, False))
    field.save(tmp_path / "field.npz")
    loaded = ERFMap.load(tmp_path / "field.npz")
    assert (loaded.recipe["normalize"], plain.recipe["normalize"]) == (True, False)
    assert "each sample over its own sum" in str(loaded)
    assert "each sample over its own sum" not in str(plain)


def test_what_cancels_has_no_sum_to_divide_by(erf):
    with pytest.raises(ValueError, match='values of magnitude="signed" cancel'):
        erf.accumulator(magnitude="signed", normalize=True)
    accumulator = erf.accumulator(magnitude=lambda gradient: gradient.sum(1), normalize=True)
    with pytest.raises(ValueError, match="callable magnitude gave negative values"):
        accumulator.update(IMAGES)
    assert accumulator.num_samples == 0
    with pytest.raises(TypeError, match="normalize must be True or False, got 'yes'"):
        erf.accumulator(normalize="yes")


@pytest.mark.parametrize("name", protocols.PROTOCOLS)
def test_protocols_take_maps_as_they_are(erf, name):
    protocol = protocols.PROTOCOLS[name]
    with pytest.raises(ValueError, match=f"{name} fixes normalize"):
        protocol.aggregate(erf, [IMAGES], normalize=True)
    with pytest.raises(ValueError, match=f"{name} needs normalize False, this field was measured with True"):
        protocol.report(erf.aggregate([IMAGES], normalize=True, **protocol.settings))
