"""Small networks that torchvision does not have: a U-Net in two and three dimensions, a detector's neck."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def conv(dims: int, inside: int, outside: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution with its norm and nonlinearity."""
    layer = CONV[dims](inside, outside, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, NORM[dims](outside), nn.SiLU(inplace=True))


class UNet(nn.Module):
    """Two convolutions at each of four scales, skips, nearest-neighbour upsampling."""

    def __init__(self, dims: int, width: int, channels: int) -> None:
        super().__init__()
        widths = [width * 2**scale for scale in range(4)]
        before = [channels, *widths[:-1]]
        self.encoder = nn.ModuleList(
            nn.Sequential(conv(dims, i, o, stride=1 if n == 0 else 2), conv(dims, o, o))
            for n, (i, o) in enumerate(zip(before, widths, strict=True))
        )
        self.up = nn.Upsample(scale_factor=2)
        self.up2, self.up1, self.up0 = (
            nn.Sequential(conv(dims, 3 * widths[n], widths[n]), conv(dims, widths[n], widths[n])) for n in (2, 1, 0)
        )

    def forward(self, x: Tensor) -> Tensor:
        fine = self.encoder[0](x)
        middle = self.encoder[1](fine)
        coarse = self.encoder[2](middle)
        found = self.up2(torch.cat([coarse, self.up(self.encoder[3](coarse))], 1))
        found = self.up1(torch.cat([middle, self.up(found)], 1))
        return self.up0(torch.cat([fine, self.up(found)], 1))


class Stage(nn.Module):
    """A part of the channels goes through bottlenecks, as in the YOLO family's backbones."""

    def __init__(self, inside: int, outside: int, count: int) -> None:
        super().__init__()
        half = outside // 2
        self.into, self.aside = conv(2, inside, half, 1), conv(2, inside, half, 1)
        self.bottlenecks = nn.Sequential(*[conv(2, half, half) for _ in range(count)])
        self.out = conv(2, 2 * half, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([self.bottlenecks(self.into(x)), self.aside(x)], 1))


class Neck(nn.Module):
    """A backbone of strides 8, 16 and 32, a path down the scales and one up again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(conv(2, 3, w, stride=2), conv(2, w, 2 * w, stride=2), Stage(2 * w, 2 * w, 2))
        self.c3 = nn.Sequential(conv(2, 2 * w, 4 * w, stride=2), Stage(4 * w, 4 * w, 4))
        self.c4 = nn.Sequential(conv(2, 4 * w, 8 * w, stride=2), Stage(8 * w, 8 * w, 4))
        self.c5 = nn.Sequential(conv(2, 8 * w, 8 * w, stride=2), Stage(8 * w, 8 * w, 2))
        self.up = nn.Upsample(scale_factor=2)
        self.top, self.p3 = Stage(16 * w, 8 * w, 2), Stage(12 * w, 4 * w, 2)
        self.down, self.p4 = conv(2, 4 * w, 4 * w, stride=2), Stage(12 * w, 8 * w, 2)

    def forward(self, x: Tensor) -> Tensor:
        c3 = self.c3(self.stem(x))
        c4 = self.c4(c3)
        top = self.top(torch.cat([self.up(self.c5(c4)), c4], 1))
        p3 = self.p3(torch.cat([self.up(top), c3], 1))
        return self.p4(torch.cat([self.down(p3), top], 1))


def make(name: str) -> nn.Module:
    """A network by the name that the table gives it."""
    return {
        "unet": lambda: UNet(2, 32, 3),
        "unet3d": lambda: UNet(3, 16, 3),
        "neck": lambda: Neck(24),
    }[name]()


NAMES = ("unet", "unet3d", "neck")
