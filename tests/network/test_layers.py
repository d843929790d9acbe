"""Layers: which modules are meant."""

import warnings

import pytest
import torch
from torchvision.models import resnet18

from captum_erf import EffectiveReceptiveField
from captum_erf.network.layers import find_layers

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_layers_are_named_as_the_network_names_them(nested):
    found = find_layers(nested, [nested[1][0], "0.1", nested[2]])
    assert [layer.name for layer in found] == ["1.0", "0.1", "2"]
    assert [layer.module for layer in found] == [nested[1][0], nested[0][1], nested[2]]


def test_a_module_outside_the_network_goes_by_its_class(nested):
    assert find_layers(nested.forward, [nested[2]])[0].name == "Conv2d"


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("layer1.0.conv3", "'layer1.0.conv1'|'layer1.0.conv2'"),
        ("relu1", "'relu'"),
        ("Layer4", "'layer4'"),
        ("xyz", "'"),
    ],
)
def test_a_misspelt_name_gets_the_nearest(typed, nearest):
    with pytest.raises(ValueError, match=f"ResNet has no layer '{typed}'; the nearest names are .*({nearest})"):
        find_layers(resnet18(weights=None), [typed])


def test_torchscript_is_refused_with_the_fix(nested):
    with warnings.catch_warnings(action="ignore"):
        scripted = torch.jit.trace(nested, IMAGES)
    with pytest.raises(TypeError, match=r"is TorchScript, which runs no hooks .* pass the eager model"):
        EffectiveReceptiveField(scripted, "1").attribute(IMAGES)
