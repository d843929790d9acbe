"""Images, and a unit that some samples do not activate, for tests of means over samples."""

import torch

IMAGES = torch.randn(10, 3, 20, 20, generator=torch.Generator().manual_seed(0))


def alive(*signs, size=16):
    return torch.tensor(signs, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, size, size)
