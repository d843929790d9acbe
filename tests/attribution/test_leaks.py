"""Nothing stays behind: no hooks, no tensors, no growing memory, no cycle that keeps a network alive."""

import contextlib
import gc
import tracemalloc
import weakref

import pytest
import torch

from captum_erf import EffectiveReceptiveField, theoretical_receptive_field

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def hooks(model):
    return sum(len(value) for module in model.modules() for name, value in vars(module).items() if "hooks" in name)


def live_tensors():
    gc.collect()
    return sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects())


@pytest.fixture
def kept(convnet):
    """Asserts that an action, once it has run a few times, leaves nothing behind when it is repeated."""

    def check(action, times):
        for _ in range(10):
            action()
        tensors, before = live_tensors(), hooks(convnet)
        tracemalloc.start()
        try:
            action()
            gc.collect()
            start = tracemalloc.get_traced_memory()[0]
            for _ in range(times):
                action()
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - start
        finally:
            tracemalloc.stop()
        assert hooks(convnet) == before
        assert live_tensors() <= tensors, "fewer are left where an earlier test's have gone meanwhile"
        assert grown < 20 * times + 200_000  # torch keeps some 140 kB of small objects for its modes

    return check


def test_a_thousand_calls_of_attribute(convnet, kept):
    erf = EffectiveReceptiveField(convnet, "4")
    kept(lambda: erf.attribute(IMAGES), 1000)


def test_aggregates_by_one_object_and_by_many(convnet, kept):
    erf = EffectiveReceptiveField(convnet, "4")
    kept(lambda: erf.aggregate([IMAGES, IMAGES]), 20)
    kept(lambda: EffectiveReceptiveField(convnet, ["1", "4"]).sweep([IMAGES], positions=["center", "corner"]), 10)


def _broken_network(convnet, erf):
    def fail(*_):
        raise OSError("disk")

    with convnet[2].register_forward_hook(fail):
        erf.attribute(IMAGES)


def _interrupted(convnet, erf):
    def fail(*_):
        raise KeyboardInterrupt

    with convnet[0].register_forward_hook(fail):
        erf.aggregate([IMAGES])


FAILURES = {
    "position": lambda convnet, erf: erf.attribute(IMAGES, position=(99, 0)),
    "selector": lambda convnet, erf: erf.attribute(IMAGES, (99, 0, 0)),
    "input": lambda convnet, erf: erf.attribute(IMAGES[:, :1]),
    "network": _broken_network,
    "interrupt": _interrupted,
    "non-finite": lambda convnet, erf: erf.aggregate([IMAGES * torch.nan]),
    "geometry": lambda convnet, erf: theoretical_receptive_field(convnet, "8", (3, 16, 16)),
    "channel": lambda convnet, erf: erf.aggregate([IMAGES], channel=99),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_hundred_failed_calls(convnet, kept, failure):
    erf = EffectiveReceptiveField(convnet, "4")

    def fail():
        with contextlib.suppress(Exception, KeyboardInterrupt):
            FAILURES[failure](convnet, erf)
            pytest.fail("should not come so far")

    kept(fail, 100)
    assert not any(parameter.grad is not None for parameter in convnet.parameters())


def _attributions(model):
    return EffectiveReceptiveField(model, "4").attribute(IMAGES)


def _field(model):
    return EffectiveReceptiveField(model, "4").aggregate([IMAGES, IMAGES])


def _global_field(model):
    return EffectiveReceptiveField(model, model[6]).aggregate([IMAGES, IMAGES])


def _geometry(model):
    return theoretical_receptive_field(model, "4", (3, 16, 16))


def _error(model):
    try:
        return EffectiveReceptiveField(model, "4").attribute(IMAGES, position=(99, 0))
    except IndexError as error:
        return str(error)


@pytest.mark.parametrize("measure", [_attributions, _field, _global_field, _geometry, _error])
def test_no_result_and_no_cycle_keeps_a_network_alive(measure):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(4, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
    ).eval()
    alive = weakref.ref(model)
    gc.collect()
    gc.disable()
    try:
        result = measure(model)
        del model
        assert alive() is None
        assert result is not None
    finally:
        gc.enable()
