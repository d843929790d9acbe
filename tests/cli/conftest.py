"""A workplace for the command: a folder with models of one's own, and pictures that take no time to draw."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import captum_erf

MODELS = """
import os, time
import torch
from torch import nn

class Slow(nn.Module):
    def forward(self, image):
        time.sleep(float(os.environ.get("SLOW", 0)))
        return image

def net():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), Slow(), nn.Conv2d(4, 4, 3, padding=1), nn.Tanh()
    )

def other(width=3, channels=3):
    return nn.Sequential(nn.Conv2d(channels, width, 5, padding=2), nn.Tanh(), nn.Conv2d(width, width, 3, 2))

def dead():
    model = net()
    nn.init.constant_(model[0].bias, -1e4)
    return model

def double():
    return net().double()

def volumes():
    return nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.ReLU())

def tokens():
    return nn.Sequential(nn.Unfold(4, stride=4), Turn(), nn.Linear(48, 4), nn.GELU(), nn.LayerNorm(4))

class Turn(nn.Module):
    def forward(self, image):
        return image.mT

class Wrapper(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = net()
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The current directory holds ``cli_models.py``, and the package that runs is this one, in other processes too."""
    (tmp_path / "cli_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", str(Path(captum_erf.__file__).parents[1]))
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("cli_models", None)


@pytest.fixture
def no_pictures(monkeypatch):
    """Empty figures: drawing takes longest, and has tests of its own."""
    monkeypatch.setattr("captum_erf.visualization.plot_layers", lambda fields: Figure())
    monkeypatch.setattr("captum_erf.visualization.plot_models", lambda rows: Figure())


@pytest.fixture
def pictures(tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "pictures/sub").mkdir(parents=True)
    for number in range(12):
        pixels = generator.integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"pictures/{'sub/' * (number % 2)}{number}.png")
    return tmp_path / "pictures"
