"""Theoretical receptive fields of published models, in few passes."""

import math
from collections import OrderedDict

import pytest
import torch
from probes import fields_of, record_passes
from torch import nn
from torchvision import models


def vgg16():
    return nn.Sequential(OrderedDict(features=models.vgg.make_layers(models.vgg.cfgs["D"])))


def googlenet():
    return models.googlenet(weights=None, init_weights=False)


PUBLISHED = [
    (models.resnet18, {"layer1": 43, "layer2": 99, "layer3": 211, "layer4": 435}),
    (models.resnet50, {"layer1": 35, "layer2": 91, "layer3": 267, "layer4": 427}),
    (vgg16, {"features.30": 212}),
    (models.densenet121, {"features.denseblock1": 59}),
    (models.convnext_tiny, {"features.1": 76}),
    (models.mobilenet_v2, {"features.3": 19}),
    (googlenet, {"inception3a": 43, "inception4a": 107}),
]


@pytest.mark.parametrize(("build", "sizes"), PUBLISHED, ids=[build.__name__ for build, _ in PUBLISHED])
def test_published_models_at_224_in_few_passes(build, sizes):
    model = build()
    passes = record_passes(model)
    fields = fields_of(model, list(sizes), ["center"], torch.randn(1, 3, 224, 224))
    assert [field.size for (field,) in fields] == [(size, size) for size in sizes.values()]
    assert not any(field.is_clipped or field.is_global for (field,) in fields)
    assert len(passes) <= 20
    assert max(math.prod(shape[2:]) for shape in passes) <= 2 * 224 * 224


def test_units_of_resnet18_layer4():
    model = models.resnet18()
    sample = torch.randn(1, 3, 224, 224)
    ((center, corner),) = fields_of(model, ["layer4"], ["center", "corner"], sample)
    assert (center.grid, center.position, center.stride) == ((7, 7), (3, 3), (32, 32))
    assert (center.center, center.center_source) == ((96.0, 96.0), "theoretical")
    assert (center.lower, center.upper) == ((96 - 217,) * 2, (96 + 218,) * 2)
    assert center.outside == pytest.approx(1 - (224 / 435) ** 2)
    assert (corner.center, corner.size) == ((0.0, 0.0), (435, 435))
    assert corner.upper == (218, 218)
    assert corner.outside == pytest.approx(1 - (218 / 435) ** 2)


def test_all_layers_take_hardly_more_passes_than_one():
    stages = [nn.Sequential(*[nn.Conv2d(3, 3, 3, s, padding=1) for s in (2, 1, 1)]) for _ in range(5)]
    model = nn.Sequential(*stages)
    counts = []
    for layers in (["4"], ["0", "1", "2", "3", "4"]):
        passes = record_passes(model)
        fields_of(model, layers, ["center"], torch.randn(1, 3, 224, 224))
        counts.append(len(passes))
    assert counts[0] <= 12
    assert counts[1] <= 1.5 * counts[0]
