"""Measurements that survive their process."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from command import NET, saved, table
from PIL import Image

from captum_erf import cli
from captum_erf.cli import measure

pytest.importorskip("torchvision")

pytestmark = pytest.mark.usefixtures("workplace", "no_pictures")


def test_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "run_through", interrupt)
    assert cli.main([*NET, "--resume", "run.pt"]) == 130
    assert capsys.readouterr().err.strip() == "captum-erf: interrupted; --resume run.pt goes on"


RUN = [*NET, "--num-samples", "48", "--batch-size", "2", "--channel", "random"]


def test_run_that_was_killed_goes_on_to_the_same_numbers(tmp_path, capsys):
    command = [
        sys.executable,
        "-m",
        "captum_erf",
        *RUN,
        "--resume",
        "run.pt",
        "--save-every",
        "1",
        "--output",
        "killed",
    ]
    environment = os.environ | {"SLOW": "0.05", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run.pt").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed/summary.json").exists()
    assert cli.main([*RUN, "--resume", "run.pt", "--output", "resumed"]) == 0
    done = int(re.search(r"Going on after (\d+) of 48 samples", capsys.readouterr().out)[1])
    assert 0 < done < 48
    assert cli.main([*RUN, "--output", "whole"]) == 0
    resumed, whole = (saved(tmp_path / name) for name in ("resumed", "whole"))
    assert list(resumed) == list(whole) == ["1.npz", "5.npz"]
    for name in whole:
        assert np.allclose(resumed[name].values, whole[name].values, rtol=1e-9, atol=0)
        assert np.array_equal(resumed[name].groups.counts, whole[name].groups.counts)
    rows = [json.loads((tmp_path / name / "summary.json").read_text())["layers"] for name in ("resumed", "whole")]
    for found, expected in zip(*rows, strict=True):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            if isinstance(value, (int, float, list)):
                assert np.allclose(found[key], value, rtol=1e-6), key
            else:
                assert found[key] == value


def test_finished_run_is_told_again_from_its_file(capsys):
    arguments = [*RUN, "--resume", "run.pt"]
    assert [cli.main(arguments), cli.main(arguments)] == [0, 0]
    first, second = capsys.readouterr().out.split("of matplotlib's")[1:]
    assert "Going on after 48 of 48 samples" in second
    assert table(first) == table(second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--size", "24"], "it took inputs of 3 x 16 x 16, this run takes 3 x 24 x 24"),
        (["--seed", "1"], "it had --seed 0, this run has 1"),
        (["--layers", "4"], "it measured 1, 5, this run asks for 4"),
        (["--num-samples", "50"], "it was over 48 crops of"),
        (["--channel", "0"], "it took the channels random, this run takes 0"),
        (["--normalize"], "it had --normalize off, this run has on"),
        (["--autocast", "bf16"], "it had --autocast none, this run has bf16"),
        (["--position", "corner"], "it measured the unit center, this run asks for corner"),
        (["--weights", "weights.pt"], "it had other weights"),
    ],
)
def test_state_of_another_run_is_refused(tmp_path, change, message, capsys):
    assert cli.main([*RUN, "--resume", "run.pt"]) == 0
    before = (tmp_path / "run.pt").read_bytes()
    torch.manual_seed(9)
    torch.save(sys.modules["cli_models"].net().state_dict(), "weights.pt")
    capsys.readouterr()
    assert cli.main([*RUN, *change, "--resume", "run.pt"]) == 2
    said = capsys.readouterr().err
    assert "run.pt belongs to another run" in said
    assert message in said
    assert (tmp_path / "run.pt").read_bytes() == before


def test_state_from_an_image_that_was_overwritten_is_refused(pictures, capsys):
    arguments = [*NET, "--data", str(pictures), "--resume", "run.pt"]
    assert [cli.main(arguments), cli.main(arguments)] == [0, 0]
    Image.new("RGB", (30, 20), "red").save(pictures / "4.png")
    assert cli.main(arguments) == 2
    assert "run.pt belongs to another run: it saw the images before they were changed" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.999], ids=["empty", "head", "half", "nearly whole"])
def test_damaged_state_is_refused(tmp_path, keep, capsys):
    assert cli.main([*RUN, "--resume", "run.pt"]) == 0
    state = (tmp_path / "run.pt").read_bytes()
    (tmp_path / "run.pt").write_bytes(state[: keep if isinstance(keep, int) else int(keep * len(state))])
    assert cli.main([*RUN, "--resume", "run.pt"]) == 2
    assert "is no file that --resume wrote, or a damaged one" in capsys.readouterr().err


def test_foreign_state_is_refused(capsys):
    torch.save({"0.weight": torch.zeros(3)}, "run.pt")
    assert cli.main([*RUN, "--resume", "run.pt"]) == 2
    assert "run.pt was not written by --resume of this version" in capsys.readouterr().err


def test_write_that_breaks_off_leaves_the_earlier_state(monkeypatch, capsys):
    save, calls = torch.save, []

    def break_off(state, stream):
        calls.append(state)
        if len(calls) > 3:
            stream.write(b"half")
            raise OSError("disk full")
        save(state, stream)

    monkeypatch.setattr(torch, "save", break_off)
    arguments = [*RUN, "--resume", "run.pt", "--save-every", "1"]
    assert cli.main(arguments) == 1
    assert "disk full" in capsys.readouterr().err
    monkeypatch.setattr(torch, "save", save)
    assert cli.main(arguments) == 0
    assert "Going on after 6 of 48 samples" in capsys.readouterr().out
