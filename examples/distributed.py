# %% [markdown]
# # One map from several processes
#
# The images of a folder are dealt out to the processes of a `torch.distributed` job, each measures its own share, and
# every process ends up with the whole map:
#
#     torchrun --nproc-per-node 2 examples/distributed.py --data photos --output field.npz
#
# Without torchrun the script measures the same on one process.

# %%
import argparse
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from captum_erf import EffectiveReceptiveField

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path, required=True, help="folder of images")
parser.add_argument("--output", type=Path, help="file to save the map to, with the ending .npz")
parser.add_argument("--size", type=int, default=64, help="side to which the images are scaled, in pixels")
parser.add_argument("--batch-size", type=int, default=4)
arguments = parser.parse_args()


# %% [markdown]
# ## The job
#
# torchrun tells each process its rank. NCCL adds up maps between GPUs, Gloo between CPUs.

# %%
rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
device = torch.device("cpu")
if torch.cuda.is_available():
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
if ranks > 1:
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


# %% [markdown]
# ## The images
#
# Where their number is no multiple of the number of processes, `DistributedSampler` repeats the first images, so that
# all processes get equally many. Training needs this; a mean over images must hold each image once. The
# repeats come last, so they are left out here. That some processes then have fewer images, or none, does no harm.


# %%
class Images(Dataset[torch.Tensor]):
    """The images of a folder, scaled to a square, with values about from -2 to 2."""

    def __init__(self, folder: Path, size: int) -> None:
        self.paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(self.paths[index]).convert("RGB").resize((self.size, self.size))
        return (torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 - 0.45) / 0.225


class EachOnce(DistributedSampler[torch.Tensor]):
    """A DistributedSampler without its repeats."""

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), len(self))

    def __len__(self) -> int:
        return len(range(self.rank, len(self.dataset), self.num_replicas))


images = Images(arguments.data, arguments.size)
loader = DataLoader(images, arguments.batch_size, sampler=EachOnce(images, ranks, rank, shuffle=False))


# %% [markdown]
# ## The map
#
# Every process needs the same weights: those of a file, or a fixed seed. `aggregate` adds up the processes at its end.

# %%
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 16, 5, stride=2, padding=2),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(32, 32, 3, padding=1),
).to(device)
field = EffectiveReceptiveField(model, "4").aggregate(loader)

if rank == 0:
    print(field)
    if arguments.output is not None:
        field.save(arguments.output, overwrite=True)
if ranks > 1:
    dist.destroy_process_group()
