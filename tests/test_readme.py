"""README's Python code runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_code_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {}
    for _ in range(2):  # as a notebook's cell is run again
        exec(block, names)
    assert names["attributions"].shape == names["images"].shape
    value, error = names["pixels"]
    assert value > 2 * error > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layer3.npz", "layer3.png"]
