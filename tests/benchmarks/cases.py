"""What is timed: networks with random weights, as time does not depend on them, and crops of a photograph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import networks
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms.functional import pil_to_tensor

Positions = tuple[tuple[float, ...] | str, ...]
PLAIN = ("captum", "script", "ours")
ON_GPU = 8  # times as many images in a batch
GRID_OF_25: Positions = tuple(
    (row, column) for row in (0.1, 0.3, 0.5, 0.7, 0.9) for column in (0.1, 0.3, 0.5, 0.7, 0.9)
)


@dataclass(frozen=True)
class Case:
    """What one row measures."""

    name: str
    network: str
    layers: tuple[str, ...]
    positions: Positions = ("center",)
    size: tuple[int, ...] = (224, 224)
    batch: int = 8
    routes: tuple[str, ...] = ("captum", "script", "openerf", "ours")

    def on(self, device: str) -> Case:
        """The case as one would measure it there: a GPU takes larger batches, and one image at a time is no use."""
        if not device.startswith("cuda"):
            return self
        routes = tuple(name for name in self.routes if name != "script" or len(self.positions) == 1)
        return replace(self, batch=self.batch * ON_GPU, routes=routes)

    @property
    def is_one_layer(self) -> bool:
        """Whether it is one of those that are also measured from a cold start."""
        return self.batch == 8 and len(self.layers) == len(self.positions) == 1


def one(network: str, layer: str, **more: Any) -> Case:
    """The centre unit of one layer; the size is told where it is not the usual one."""
    size = f" at {' x '.join(map(str, more['size']))}" if "size" in more else ""
    return Case(f"{network} {layer}{size}", network, (layer,), **more)


def _all_convolutions(name: str) -> tuple[str, ...]:
    named = network(name).named_modules()
    return tuple(name for name, module in named if isinstance(module, nn.Conv2d))


def cases() -> list[Case]:
    """The rows."""
    return [
        *(one("resnet50", layer) for layer in ("layer1", "layer2", "layer3.1", "layer3", "layer4")),
        *(one("convnext_tiny", f"features.{number}") for number in (1, 3, 5, 7)),
        Case("resnet50, all 53 convolutions", "resnet50", _all_convolutions("resnet50"), routes=("captum", "ours")),
        Case("resnet50 layer1, 25 positions", "resnet50", ("layer1",), GRID_OF_25, routes=PLAIN),
        Case("resnet50 layer2, 25 positions", "resnet50", ("layer2",), GRID_OF_25, routes=PLAIN),
        one("resnet50", "layer2", size=(1024, 1024), batch=2, routes=PLAIN),
        one("resnet50", "layer4", size=(512, 512), batch=2, routes=PLAIN),
        one("unet", "up1", batch=4, routes=PLAIN),
        one("neck", "p4", size=(320, 320), batch=4, routes=PLAIN),
        one("unet3d", "up1", size=(64, 64, 64), batch=2, routes=PLAIN),
        one("r3d_18", "layer2", size=(96, 96, 96), batch=2, routes=PLAIN),
    ]


def network(name: str, device: str = "cpu") -> nn.Module:
    """A network with random weights of a fixed seed."""
    torch.manual_seed(0)
    if name in networks.NAMES:
        return networks.make(name).eval().to(device)
    maker = models.video.r3d_18 if name == "r3d_18" else getattr(models, name)
    return maker(weights=None).eval().to(device)


def crops(count: int, size: tuple[int, ...], device: str = "cpu") -> Tensor:
    """Crops of the photograph that matplotlib ships, enlarged where they must be; videos pan over it."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    photograph = pil_to_tensor(Image.open(get_sample_data("grace_hopper.jpg")).convert("RGB")).float() / 255
    height, width = size[-2:]
    scale = max(height / photograph.shape[1], width / photograph.shape[2], 1.0)
    if scale > 1:
        photograph = nn.functional.interpolate(photograph[None], scale_factor=1.01 * scale, mode="bilinear")[0]
    generator = torch.Generator().manual_seed(0)
    frames = count * (size[0] if len(size) == 3 else 1)
    rows = torch.randint(0, photograph.shape[1] - height + 1, (frames,), generator=generator).tolist()
    columns = torch.randint(0, photograph.shape[2] - width + 1, (frames,), generator=generator).tolist()
    found = torch.stack([photograph[:, r : r + height, c : c + width] for r, c in zip(rows, columns, strict=True)])
    normalised = (found - 0.45) / 0.225
    if len(size) == 3:
        normalised = normalised.unflatten(0, (count, size[0])).transpose(1, 2).contiguous()
    return normalised.to(device)
