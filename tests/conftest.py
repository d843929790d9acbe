"""Small models that several tests share, and the plain computation that the package is compared with."""

import pytest
import torch
from torch import nn


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
def plain_gradient():
    """Gradient of ``scalar(layer's output)``, summed over samples, without any of the package's code."""

    def gradient(model, layer, inputs, scalar):
        inputs, kept = inputs.clone().requires_grad_(), []
        handle = layer.register_forward_hook(lambda module, args, output: kept.append(output.clone()))
        model(inputs)
        handle.remove()
        return torch.autograd.grad(scalar(kept[0]).sum(), inputs)[0]

    return gradient


@pytest.fixture
def count_calls():
    """Counts the forward calls of a module."""

    def counter(module):
        calls = []
        module.register_forward_hook(lambda *_: calls.append(1))
        return calls

    return counter
