"""Small models that several tests share; what they are compared with is in oracle.py."""

import pytest
import torch
from hypothesis import settings
from torch import nn

settings.register_profile("any machine", deadline=None)  # a busy one is slow, not wrong
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def convnet():
    """Two spatial stages and a classifier, in eval mode: the smallest network with everything a CNN has."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 4),
    ).eval()


@pytest.fixture
def linear_convs():
    """Two convolutions without nonlinearity: its gradients do not depend on the input."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))


@pytest.fixture
def nested():
    """Convolutions in blocks, with ReLUs that work in place."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(inplace=True)),
        nn.Conv2d(5, 2, 1),
    ).eval()


@pytest.fixture
def count_calls():
    """Counts the forward calls of a module."""

    def counter(module):
        calls = []
        module.register_forward_hook(lambda *_: calls.append(1))
        return calls

    return counter
