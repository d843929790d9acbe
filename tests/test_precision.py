"""Low precision gives the diameters of float32."""

import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.transforms.functional import pil_to_tensor

from captum_erf import EffectiveReceptiveField

STAGES = ["layer1", "layer2", "layer3", "layer4"]


def crops(count, size):
    from matplotlib.cbook import get_sample_data

    with get_sample_data("grace_hopper.jpg") as file:
        photograph = pil_to_tensor(Image.open(file).convert("RGB")).float() / 255
    corners = torch.randint(0, 512 - size, (count, 2)).tolist()
    return torch.stack([photograph[:, y : y + size, x : x + size] for y, x in corners]).sub(0.45).div(0.225)


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
