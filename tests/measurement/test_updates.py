"""Updates that fail change nothing."""

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from captum_erf import EffectiveReceptiveField

IMAGES = torch.randn(10, 3, 20, 20, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def erf(convnet):
    return EffectiveReceptiveField(convnet, "4")


@pytest.fixture
def sample_maps(erf):
    """The definition: |dy/dx| of the centre unit, summed over input channels, for each sample by itself."""
    return torch.stack([erf.attribute(image[None]).sum(1)[0] for image in IMAGES]).double().numpy()


def test_a_failing_update_changes_nothing(erf):
    accumulator = erf.accumulator()
    accumulator.update(IMAGES[:4])
    before = accumulator.compute()[0]
    broken = IMAGES[4:8].clone()
    broken[1] = float("nan")
    for batch, error in [
        (torch.randn(2, 3, 16, 16), ValueError),
        (broken, FloatingPointError),
        ("text", TypeError),
        (torch.randn(2, 4, 20, 20), (ValueError, RuntimeError)),
    ]:
        with pytest.raises(error):
            accumulator.update(batch)
        after = accumulator.compute()[0]
        assert after.num_samples == accumulator.num_samples == 4
        assert (after.values == before.values).all()
        assert (after.groups.sums == before.groups.sums).all()
    accumulator.update(IMAGES[4:])
    assert_allclose(accumulator.compute()[0].values, erf.aggregate([IMAGES]).values)


def test_a_first_update_that_fails_leaves_the_accumulator_empty(erf):
    accumulator = erf.accumulator()
    with pytest.raises(FloatingPointError):
        accumulator.update(IMAGES * float("nan"))
    with pytest.raises(ValueError, match="No samples were measured"):
        accumulator.compute()
    accumulator.update(torch.randn(2, 3, 12, 12))
    assert accumulator.compute()[0].values.shape == (12, 12)


def test_an_interrupt_leaves_what_was_summed_up(convnet):
    class Interrupts(nn.Module):
        calls = 0

        def forward(self, images):
            self.calls += 1
            if self.calls > limit:
                raise KeyboardInterrupt
            return images

    limit, interrupter = 10**6, Interrupts()
    erf = EffectiveReceptiveField(nn.Sequential(interrupter, *convnet), "5")
    accumulator = erf.accumulator()
    accumulator.update(IMAGES[:5])
    limit = 0
    with pytest.raises(KeyboardInterrupt):
        accumulator.update(IMAGES[5:])
    assert accumulator.compute()[0].num_samples == 5
