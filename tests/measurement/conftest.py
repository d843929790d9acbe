"""What is measured over and over: the centre unit of a small network, and one that is dead for some samples."""

import pytest
import torch
from gated import IMAGES
from torch import nn

from captum_erf import EffectiveReceptiveField


@pytest.fixture
def erf(convnet):
    return EffectiveReceptiveField(convnet, "4")


@pytest.fixture
def sample_maps(erf):
    """The definition: |dy/dx| of the centre unit, summed over input channels, for each sample by itself."""
    return torch.stack([erf.attribute(image[None]).sum(1)[0] for image in IMAGES]).double().numpy()


@pytest.fixture
def gated():
    """Sees nothing where its input is negative: a sample of negative values is dead."""
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 3, padding=1, bias=False))
    nn.init.ones_(model[1].weight)
    return EffectiveReceptiveField(model, "1")
