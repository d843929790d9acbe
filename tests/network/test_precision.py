"""Switches of torch that say how precise products are: they stay, in whichever way they were set."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle import mean_map
from torch import nn

import captum_erf
from captum_erf import EffectiveReceptiveField
from captum_erf.network.precision import full_precision

IS_NEW = hasattr(torch.backends.cuda.matmul, "fp32_precision")
OLD_WAYS = [
    "torch.set_float32_matmul_precision('high')",
    "torch.set_float32_matmul_precision('medium')",
    "torch.backends.cudnn.allow_tf32 = False",
    "torch.backends.cudnn.enabled = False",
    "torch.backends.disable_global_flags()",
]
NEW_WAYS = [
    "torch.backends.cudnn.conv.fp32_precision = 'ieee'",  # after which torch.backends.cudnn.flags fails
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "torch.backends.fp32_precision = 'tf32'",
]
SCRIPT = """
import torch
from torch import nn
from captum_erf import EffectiveReceptiveField

def asked():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    for read in (
        torch.get_float32_matmul_precision, lambda: matmul.allow_tf32, lambda: cudnn.allow_tf32, lambda: cudnn.enabled,
        lambda: matmul.fp32_precision, lambda: cudnn.conv.fp32_precision, lambda: torch.backends.fp32_precision,
    ):
        try:
            yield read()
        except Exception as error:
            yield type(error)

{way}
before = list(asked())
model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 4, 3, padding=1))
EffectiveReceptiveField(model, "2").aggregate([torch.randn(2, 3, 32, 32)] * 3)
assert list(asked()) == before, (list(asked()), before)
"""


@pytest.mark.parametrize("way", OLD_WAYS + NEW_WAYS * IS_NEW)
def test_a_measurement_leaves_the_switches_alone(way):
    environment = {"PYTHONPATH": str(Path(captum_erf.__file__).parents[1]), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(way=way)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_parts_and_whole_are_compared_without_tf32():
    asked = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with full_precision():
            assert not torch.backends.cudnn.enabled
            if IS_NEW:
                assert torch.backends.cuda.matmul.fp32_precision == "ieee"
            else:
                assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(asked)


def test_a_network_may_set_switches_itself():
    class Switches(nn.Sequential):
        def forward(self, x):
            with torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False, allow_tf32=False):
                return super().forward(x)

    model = Switches(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2, 3, padding=1))
    images = torch.randn(4, 3, 64, 64)
    found = EffectiveReceptiveField(model, "2").aggregate(images.split(1))
    assert "window (5, 5)" in found.recipe["route"]
    np.testing.assert_allclose(found.values, mean_map(model, model[2], images, (32, 32)), atol=1e-6)
