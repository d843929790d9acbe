"""Updates that fail change nothing."""

import copy

import pytest
import torch
from gated import IMAGES
from numpy.testing import assert_allclose
from torch import nn

from captum_erf import EffectiveReceptiveField
from captum_erf.measurement import ledger


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


@pytest.fixture
def late(monkeypatch):
    """As on a GPU: what is counted of a batch is looked at when the next one comes, or when somebody asks."""
    monkeypatch.setattr(ledger, "comes_late", lambda tensor: True)


def spoilt(images):
    images = images.clone()
    images[1] = float("nan")
    return images


def test_what_arrives_late_is_the_same(erf, late):
    accumulator = erf.accumulator(groups=3)
    for batch in IMAGES.split(3):
        accumulator.update(batch)
    assert accumulator.num_samples == len(IMAGES)
    found, expected = accumulator.compute()[0], erf.aggregate([IMAGES], groups=3)
    assert_allclose(found.values, expected.values)
    for name in ("counts", "dead", "squares", "prints"):
        assert_allclose(getattr(found.groups, name), getattr(expected.groups, name))


@pytest.mark.parametrize("ask", ["update", "compute", "state_dict", "has_dead_unit", "merge"])
def test_a_batch_that_is_refused_late_is_taken_back(erf, late, ask):
    accumulator = erf.accumulator()
    accumulator.update(IMAGES[:4])
    accumulator.update(spoilt(IMAGES[4:8]))
    assert accumulator.num_samples == 8
    questions = {
        "update": lambda: accumulator.update(IMAGES[8:]),
        "compute": accumulator.compute,
        "state_dict": accumulator.state_dict,
        "has_dead_unit": lambda: accumulator.has_dead_unit,
        "merge": lambda: erf.accumulator().merge(accumulator),
    }
    with pytest.raises(FloatingPointError, match=r"Batch 1: .* not finite for 1 of 4 samples"):
        questions[ask]()
    assert accumulator.num_samples == 4
    accumulator.update(IMAGES[4:])
    found, expected = accumulator.compute()[0], erf.aggregate([IMAGES])
    assert_allclose(found.values, expected.values)
    assert (found.groups.prints == expected.groups.prints).all()


def test_a_first_batch_that_is_refused_late_leaves_the_accumulator_empty(erf, late):
    accumulator = erf.accumulator()
    accumulator.update(spoilt(IMAGES))
    with pytest.raises(FloatingPointError, match="Batch 0"):
        accumulator.compute()
    with pytest.raises(ValueError, match="No samples were measured"):
        accumulator.compute()
    accumulator.update(torch.randn(2, 3, 12, 12))
    assert accumulator.compute()[0].values.shape == (12, 12)


def test_samples_that_are_left_out_late_are_counted(erf, late):
    accumulator = erf.accumulator(nonfinite="skip")
    accumulator.update(spoilt(IMAGES[:4]))
    accumulator.update(IMAGES[4:])
    field = accumulator.compute()[0]
    assert (field.num_samples, field.num_nonfinite) == (len(IMAGES) - 1, 1)
    assert_allclose(field.values, erf.aggregate([IMAGES[:1], IMAGES[2:]]).values)


def test_an_interrupt_while_one_waits_leaves_the_batch_for_later(erf, late, monkeypatch):
    accumulator = erf.accumulator()
    accumulator.update(IMAGES[:4])

    def stop(arriving):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ledger.Arriving, "here", stop)
        with pytest.raises(KeyboardInterrupt):
            accumulator.update(IMAGES[4:])
    accumulator.update(IMAGES[4:])
    field = accumulator.compute()[0]
    assert field.num_samples == accumulator.num_samples == len(IMAGES)
    assert_allclose(field.values, erf.aggregate([IMAGES]).values)


def test_nothing_is_left_of_a_first_batch_that_is_refused_late(erf, late):
    accumulator, other = erf.accumulator(), erf.accumulator()
    other.update(IMAGES[:4])
    accumulator.update(torch.full((2, 3, 40, 40), float("nan")))
    with pytest.raises(FloatingPointError):
        accumulator.merge(other)
    accumulator.merge(other)
    accumulator.update(IMAGES[4:])
    found, expected = accumulator.compute()[0], erf.aggregate([IMAGES[:4], IMAGES[4:]])
    assert_allclose(found.values, expected.values)
    assert found.recipe["route"] == expected.recipe["route"]


def test_a_late_refusal_comes_before_words_about_another_size(erf, late):
    accumulator = erf.accumulator()
    accumulator.update(torch.full((2, 3, 40, 40), float("nan")))
    with pytest.raises(FloatingPointError, match="Batch 0"):
        accumulator.update(IMAGES)
    accumulator.update(spoilt(IMAGES))
    with pytest.raises(FloatingPointError, match="Batch 0"):
        accumulator.compute()


def test_images_of_a_batch_that_is_refused_late_are_forgotten(erf, late):
    names = {1: "aab", 2: "bcd", 3: "dea"}
    accumulator = erf.accumulator(groups=3, get_groups=lambda batch: names[batch[1]])
    accumulator.update((IMAGES[:3], 1))
    accumulator.update((spoilt(IMAGES[3:6]), 2))
    with pytest.raises(FloatingPointError):
        accumulator.compute()
    accumulator.update((IMAGES[6:9], 3))
    batches = [(IMAGES[:3], 1), (IMAGES[6:9], 3)]
    found, expected = (
        accumulator.compute()[0],
        erf.sweep(batches, groups=3, get_groups=lambda batch: names[batch[1]])[0],
    )
    assert_allclose(found.groups.counts, expected.groups.counts)
    assert_allclose(found.values, expected.values)
