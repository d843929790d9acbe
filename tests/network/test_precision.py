"""Switches of torch that say how precise products are: they stay, in whichever way they were set."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import captum_erf
from captum_erf.network.precision import full_precision

IS_NEW = hasattr(torch.backends.cuda.matmul, "fp32_precision")
OLD_WAYS = [
    "torch.set_float32_matmul_precision('high')",
    "torch.set_float32_matmul_precision('medium')",
    "torch.backends.cudnn.allow_tf32 = False",
    "torch.backends.cudnn.enabled = False",
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


@pytest.mark.parametrize("is_quick", [True, False])
def test_parts_and_whole_are_compared_without_tf32(is_quick):
    with full_precision(is_quick=is_quick):
        assert torch.backends.cudnn.enabled == is_quick
        if IS_NEW:
            assert torch.backends.cuda.matmul.fp32_precision == torch.backends.cudnn.conv.fp32_precision == "ieee"
        else:
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
