"""
Networks of your own: outputs and inputs that are not ``(N, C, H, W)``.

    python examples/own_network.py [--output DIR]

A U-Net that returns a dictionary, a detector whose neck returns several scales, and a transformer over spectrograms
that come as ``(N, T, F)``. A layout says how a layer's output is read as ``(N, C, *grid)``, an input layout how the
input is; nothing else changes. The networks are small and random here.
"""

# %%
import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from captum_erf import EffectiveReceptiveField, channels_last, theoretical_receptive_fields, tokens, visualization

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("output/own_network"))
output = parser.parse_args().output
output.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)


# %% A U-Net whose output is a dictionary
class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)])
        self.up = nn.ModuleList([nn.Conv2d(48, 16, 3, 1, 1), nn.Conv2d(24, 8, 3, 1, 1)])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.down[0](x).relu()
        middle = self.down[1](fine).relu()
        coarse = self.down[2](middle).relu()
        middle = self.up[0](torch.cat([interpolate(coarse, scale_factor=2), middle], 1)).relu()
        fine = self.up[1](torch.cat([interpolate(middle, scale_factor=2), fine], 1)).relu()
        return {"masks": fine}


images = list(torch.randn(4, 4, 3, 64, 64))  # yours, as the network expects them
unet = UNet().eval()
masks = EffectiveReceptiveField(unet, "", layout=lambda output: output["masks"]).aggregate(images)  # "" is the network
print(f"U-Net: {masks.theoretical}\n")

# How much must tiles overlap for the same masks as from the whole image? The table's halo.
print(theoretical_receptive_fields(unet, ["down.2", "up.0", "up.1"], (3, 64, 64)), "\n")


# %% A detector: its neck returns a list of scales
class Neck(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Conv2d(3, 16, 5, 4, 2), nn.Conv2d(16, 16, 3, 2, 1)])

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.stages[0](x).relu()
        coarse = self.stages[1](fine).relu()
        return [fine + interpolate(coarse, scale_factor=2), coarse]


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.neck, self.head = Neck(), nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.head(scale) for scale in self.neck(x)]


detector = Detector().eval()
scales = {
    f"detector, scale {number}": EffectiveReceptiveField(
        detector, "neck", layout=lambda scales, number=number: scales[number]
    ).aggregate(images)
    for number in (0, 1)
}


# %% A transformer over spectrograms (N, T, F), whose layers give tokens (N, T, C): one spatial axis, time
class Listener(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(20, 16)
        self.block = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.embed(x))


sounds = list(torch.randn(4, 8, 50, 20))  # 50 frames of 10 ms, 20 frequencies
erf = EffectiveReceptiveField(Listener().eval(), "block", layout=tokens(grid=(50,)), input_layout=channels_last)
heard = erf.aggregate(sounds, channel="random")  # a layer norm makes the plain sum over channels constant
((back, ahead),) = heard.extent(0.5, spacing=10)
print(f"The transformer's middle frame: half of its field lies from {back:.0f} to {ahead:.0f} ms.")

# %%
figure = visualization.plot_models(
    {"": {"U-Net, masks": masks} | scales}, zoom="field", title="Centre units of three outputs"
)
figure.savefig(output / "own_network.png", dpi=150)
