"""
The effective receptive field while a network trains, in TensorBoard or any other logger.

    python examples/while_training.py [--output DIR] [--quick] && tensorboard --logdir output/while_training

After every epoch the field of one layer is measured on the same few validation images; its size goes to the logger as a
number with its error, and its figure as an image. Measuring leaves training as it is: the model's mode and gradients
come back, and what is random in it comes from a generator of its own. A small network learns to tell by how many
quarter turns a photograph is rotated, so that no data set is needed.
"""

# %%
import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from captum_erf import EffectiveReceptiveField, ERFMap
from captum_erf.images import photograph

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:  # pip install tensorboard
    SummaryWriter = None

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("output/while_training"))
parser.add_argument("--quick", action="store_true", help="fewer images and epochs")
options = parser.parse_args()
options.output.mkdir(parents=True, exist_ok=True)
crops, epochs = (32, 2) if options.quick else (512, 8)
writer = SummaryWriter(str(options.output)) if SummaryWriter else None


# %% The data and the network
def rotated(images: Tensor) -> tuple[Tensor, Tensor]:
    """Every image under all four quarter turns, and by how many of them it is turned."""
    return torch.cat([images.rot90(turns, (2, 3)) for turns in range(4)]), torch.arange(4).repeat_interleave(
        len(images)
    )


torch.manual_seed(0)
data = torch.stack(list(photograph(crops + 32, size=48)))
inputs, targets = rotated(data[32:])
validation, answers = rotated(data[:32])

model = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1))
for _ in range(5):
    model.extend([nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)])
model.extend([nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)])

# %% The field: made once, measured whenever wanted
erf = EffectiveReceptiveField(model, "15")  # the last convolution


def width(field: ERFMap) -> float:
    return field.equivalent_width()


def log(epoch: int) -> ERFMap:
    """Measures, and writes what came out to the logger."""
    generator = torch.Generator().manual_seed(0)  # the same random signs every time, and none of training's
    field = erf.aggregate(validation.split(16), channel="random", generator=generator)
    size, error = field.estimate(width)
    with torch.no_grad():
        accuracy = (model.eval()(validation).argmax(1) == answers).double().mean().item()
    print(f"epoch {epoch}: accuracy {accuracy:.2f}, equivalent width {size:.2f} ± {error:.2f} px")
    if writer:
        writer.add_scalar("erf/equivalent width", size, epoch)
        writer.add_scalar("erf/standard error", error, epoch)
        writer.add_scalar("accuracy", accuracy, epoch)
        writer.add_figure("erf/map", field.plot(), epoch)
    return field


# %% Training
optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
before = log(0)
for epoch in range(1, epochs + 1):
    model.train()
    for chosen in torch.randperm(len(inputs)).split(32):
        optimizer.zero_grad()
        cross_entropy(model(inputs[chosen]), targets[chosen]).backward()
        optimizer.step()
    after = log(epoch)

# %% What did training change? The same images before and after, so that what they share drops out of the error.
change, error = after.difference(before, width)
print(f"Training changed the equivalent width by {change:+.2f} ± {error:.2f} px.")
after.save(options.output / "after.npz", overwrite=True)
after.plot().savefig(options.output / "while_training.png", dpi=150)
if writer:
    writer.close()
