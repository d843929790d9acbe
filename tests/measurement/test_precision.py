"""Low precision gives the diameters of float32."""

import pytest
import torch
from torchvision import models

from captum_erf import EffectiveReceptiveField
from captum_erf.images import photograph

STAGES = ["layer1", "layer2", "layer3", "layer4"]


def crops(count, size):
    return torch.stack(list(photograph(count, size=size)))


def check_diameters(model, images):
    erf = EffectiveReceptiveField(model.eval(), STAGES)
    whole, low = (erf.sweep([images], autocast=dtype) for dtype in (None, torch.bfloat16))
    for field, other in zip(whole, low, strict=True):
        assert (other.values != field.values).any()
        for share in (0.5, 0.9):
            assert other.radius_mass().diameter(share) == pytest.approx(field.radius_mass().diameter(share), abs=1)


def test_stages_of_resnet18_in_bfloat16():
    check_diameters(models.resnet18(weights=None), crops(4, 64))


@pytest.mark.slow
def test_stages_of_resnet50_in_bfloat16():
    check_diameters(models.resnet50(weights=None), crops(8, 224))
