"""What a measurement brings into the process."""

import subprocess
import sys

MEASURES = """
import sys
import torch
from torch import nn
from captum_erf import EffectiveReceptiveField, theoretical_receptive_fields

torch.manual_seed(0)
model, images = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3)), torch.ones(2, 3, 32, 32)
erf = EffectiveReceptiveField(model, "2")
erf.aggregate([images])
erf.attribute(images)
theoretical_receptive_fields(model, input_shape=(3, 32, 32))
print([name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules])
"""


def test_no_compiler_is_imported_where_nothing_is_compiled():
    done = subprocess.run([sys.executable, "-c", MEASURES], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
