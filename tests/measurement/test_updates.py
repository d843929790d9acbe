"""Updates that fail change nothing."""

import copy

import pytest
import torch
from gated import IMAGES
from numpy.testing import assert_allclose
from torch import nn

from captum_erf import EffectiveReceptiveField


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


def denormals_are_flushed():
    return bool(torch.tensor(1e-310, dtype=torch.float64) * 1 == 0)


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush them")
@pytest.mark.parametrize("wanted", [False, True])
def test_denormal_numbers_are_flushed_in_the_measurement_alone(wanted):
    seen = []

    class Fades(nn.Module):
        def forward(self, images):
            seen.append(denormals_are_flushed())
            return images * 1e-38 + images.roll(1, -1)

    model = nn.Sequential(Fades(), Fades(), Fades())
    torch.set_flush_denormal(wanted)
    try:
        field = EffectiveReceptiveField(model, "2").aggregate([torch.ones(2, 1, 5, 5)])
        assert denormals_are_flushed() == wanted
    finally:
        torch.set_flush_denormal(False)
    assert seen[-1]
    assert field.values.max() == pytest.approx(1)


def test_what_is_changed_between_updates_is_guarded_as_well(convnet):
    """Modules and entries that have come in the meantime are put back after a pass that changes them."""

    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen = []

        def forward(self, images):
            self.seen.append(len(images))
            return images

    accumulator = EffectiveReceptiveField(convnet, "4").accumulator()
    for _ in range(2):
        accumulator.update(IMAGES)
    convnet[1].late = Counts()
    handle = convnet[1].register_forward_hook(lambda module, args, output: module.late(output))
    for count in range(3):
        accumulator.update(IMAGES)
        assert convnet[1].late.seen == [7] * count
        convnet[1].late.seen.append(7)
    handle.remove()


def test_a_copy_of_the_object_guards_its_own_network():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    model[1].register_forward_hook(lambda module, args, output: setattr(module, "mask", output))
    erf = EffectiveReceptiveField(model, "2")
    erf.aggregate([IMAGES])
    twin = copy.deepcopy(erf)
    twin.aggregate([IMAGES])
    assert not hasattr(twin.forward_func[1], "mask")
