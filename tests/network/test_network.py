"""The network: all modules that it can touch, where it stands, and what is known of it."""

import functools

import pytest
import torch
from torch import nn

from captum_erf.network.network import Network


def test_the_modules_of_a_forward_function_are_found(nested):
    class Holder:
        def __init__(self, model):
            self.model = model

        def predict(self, images):
            return self.model(images)

    everything = set(nested.modules())
    for forward in (
        nested,
        nested.forward,
        functools.partial(nested, extra=1),
        functools.partial(lambda model, images: model(images), nested),
        lambda images: nested(images),
        Holder(nested),
        Holder(nested).predict,
    ):
        assert set(Network(forward, ()).modules) == everything, forward
    assert Network(torch.relu, ()).modules == []


@pytest.mark.parametrize(
    ("norm", "training", "kinds"),
    [
        (nn.BatchNorm2d(3), True, ["BatchNorm2d"]),
        (nn.BatchNorm2d(3), False, []),
        (nn.BatchNorm2d(3, track_running_stats=False), False, ["BatchNorm2d"]),
        (nn.SyncBatchNorm(3), True, ["SyncBatchNorm"]),
        (nn.InstanceNorm2d(3), True, []),
        (nn.GroupNorm(1, 3), True, []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_normalisation_that_mixes_samples(norm, training, kinds):
    assert Network(norm.train(training), ()).mixes_samples() == kinds


@pytest.mark.parametrize(
    ("model", "device"),
    [
        (nn.Conv2d(1, 1, 1), torch.device("cpu")),
        (nn.ReLU(), None),
        (nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1, device="meta")), torch.device("meta")),
    ],
    ids=["parameters", "none", "meta"],
)
def test_the_device_is_that_of_the_first_tensor(model, device):
    assert Network(model, ()).device == device
