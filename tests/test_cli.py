"""The command as a stranger meets it: what it prints and writes, what it says to mistakes, and what survives a kill."""

import csv
import importlib.metadata
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from captum_erf import EffectiveReceptiveField, ERFMap, cli, images
from captum_erf.cli import files as outputs
from captum_erf.images import folder, photograph

pytest.importorskip("torchvision")

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

def dead():
    model = net()
    nn.init.constant_(model[0].bias, -1e4)
    return model

def double():
    return net().double()

def gray():
    return nn.Sequential(nn.Conv2d(1, 4, 3))

def tokens():
    return nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten(2), Turn(), nn.Linear(4, 4), nn.GELU(), nn.LayerNorm(4))

class Turn(nn.Module):
    def forward(self, image):
        return image.mT
"""
NET = ["cli_models:net", "--size", "16"]


PLOT_LAYERS = outputs.visualization.plot_layers


@pytest.fixture(autouse=True)
def _workplace(tmp_path, monkeypatch):
    """Models of one's own in the current directory; pictures, which take longest, are empty."""
    monkeypatch.setattr(outputs.visualization, "plot_layers", lambda fields: Figure())
    (tmp_path / "cli_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("cli_models", None)


@pytest.fixture
def pictures(tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "pictures/sub").mkdir(parents=True)
    for number in range(12):
        pixels = generator.integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"pictures/{'sub/' * (number % 2)}{number}.png")
    return tmp_path / "pictures"


def table(printed):
    """Rows of the printed table by layer; ``±`` keeps a number and its error together."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines() if "%" in line or " x " in line]
    return {line[0]: line[1:] for line in lines if len(line) == 11}


def saved(place):
    return {file.name: ERFMap.load(file) for file in sorted(place.glob("*.npz"))}


def test_main_job_on_a_real_network(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(outputs.visualization, "plot_layers", PLOT_LAYERS)
    assert cli.main(["resnet18", "--size", "64", "--num-samples", "4"]) == 0
    printed, progress = capsys.readouterr()
    assert "resnet18, weights: random (seed 0), not those of the trained network" in printed
    assert "4 crops of 64 x 64, at random places and scales, of matplotlib's grace_hopper.jpg" in printed
    rows = table(printed)
    assert rows["layer"] == [
        *("grid", "stride", "TRF", "ERF 50 %", "90 %", "95 %", "sigma", "R²", "ERF/TRF", "outside"),
    ]
    assert {name: row[:3] for name, row in rows.items() if name != "layer"} == {
        "relu": ["32 x 32", "2", "7"],
        "layer1": ["16 x 16", "4", "43"],
        "layer2": ["8 x 8", "8", "99"],
        "layer3": ["4 x 4", "16", "211"],
        "layer4": ["2 x 2", "32", "435"],
    }
    assert re.fullmatch(r"\d+\.\d ± \d+\.\d", rows["layer2"][3])
    assert rows["relu"][9] == "0.0 %"
    assert float(rows["layer4"][9].split()[0]) > 95
    assert "1/1" in progress
    names = [
        "erf.png",
        "layer1.npz",
        "layer2.npz",
        "layer3.npz",
        "layer4.npz",
        "relu.npz",
        "summary.csv",
        "summary.json",
    ]
    assert sorted(file.name for file in (tmp_path / "erf-resnet18").iterdir()) == names


def test_results_are_those_of_the_class(tmp_path, pictures):
    arguments = [
        "--data",
        str(pictures),
        "--num-samples",
        "7",
        "--batch-size",
        "3",
        "--position",
        "corner",
        "--seed",
        "5",
    ]
    assert cli.main([*NET, *arguments, "--layers", "4", "1", "--output", "results"]) == 0
    place = tmp_path / "results"
    torch.manual_seed(5)
    model = sys.modules["cli_models"].net()
    loader = DataLoader(folder(pictures, 7, size=16, seed=5), 3)
    expected = EffectiveReceptiveField(model, ["4", "1"]).sweep(loader, positions=["corner"])
    found = saved(place)
    for field, name in zip(expected, ("4.npz", "1.npz"), strict=True):
        assert np.array_equal(found[name].values, field.values)
        assert found[name].position == (0, 0)
        assert found[name].recipe["weights"] == "as cli_models:net left them (seed 5)"
    summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    assert [row["layer"] for row in summary["layers"]] == ["4", "1"]
    assert summary["images"] == f"7 crops of 16 x 16, one of each of 7 images from {pictures}"
    assert {key: summary["layers"][0][key] for key in expected[0].summary()} == expected[0].summary()
    with (place / "summary.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[0]["diameter_50"]) == expected[0].radius_mass().diameter(0.5)
    assert float(rows[0]["gaussian_sigma_1"]) == pytest.approx(expected[0].gaussian_fit().sigmas[1])
    assert [rows[1][f"grid_{axis}"] for axis in (0, 1)] == ["16", "16"]


def test_running_again_writes_over_the_earlier_results(tmp_path):
    short = [*NET, "--num-samples", "2", "--layers", "4"]
    assert [cli.main(short), cli.main([*short, "--seed", "1"])] == [0, 0]
    place = tmp_path / "erf-cli_models-net"
    assert len(list(place.iterdir())) == 4
    assert json.loads((place / "summary.json").read_text())["options"]["seed"] == 1
    assert saved(place)["4.npz"].recipe["weights"].endswith("(seed 1)")


@pytest.mark.parametrize(("option", "channel"), [("2", 2), ("0,3", [0, 3]), (None, None)], ids=["one", "two", "all"])
def test_channels(tmp_path, option, channel):
    arguments = [*NET, "--num-samples", "2", "--layers", "4", "--output", "out"]
    assert cli.main(arguments + ([] if option is None else ["--channel", option])) == 0
    torch.manual_seed(0)
    erf = EffectiveReceptiveField(sys.modules["cli_models"].net(), "4")
    expected = erf.aggregate(DataLoader(photograph(2, size=16), 8), channel=channel)
    assert np.array_equal(saved(tmp_path / "out")["4.npz"].values, expected.values)


def test_random_signs_are_repeated_by_the_seed(tmp_path):
    torch.manual_seed(0)
    assert cli.main([*NET, "--list-layers"]) == 0
    torch.save(sys.modules["cli_models"].net().state_dict(), "weights.pt")
    signs = [*NET, "--channel", "random", "--weights", "weights.pt", "--num-samples", "4", "--layers", "4"]
    for place, seed in (("one", "3"), ("two", "3"), ("three", "4")):
        assert cli.main([*signs, "--seed", seed, "--output", place]) == 0
    one, two, three = (saved(tmp_path / place)["4.npz"].values for place in ("one", "two", "three"))
    assert np.array_equal(one, two)
    assert not np.allclose(one, three)


def test_settings_reach_the_measurement(tmp_path):
    arguments = ["--position", "0.5,3", "--autocast", "bf16", "--no-window", "--num-samples", "2", "--layers", "1,4"]
    assert cli.main([*NET, *arguments, "--output", "out"]) == 0
    field = saved(tmp_path / "out")["1.npz"]
    assert field.position == (8, 3)
    assert field.recipe["autocast"] == "torch.bfloat16"
    assert field.recipe["window"] is False


def test_tokens_are_read_as_the_user_says(tmp_path, capsys):
    arguments = ["cli_models:tokens", "--size", "32", "--num-samples", "3"]
    assert cli.main(arguments) == 2
    assert "64 tokens of 4 channels" in capsys.readouterr().err
    assert cli.main([*arguments, "--layout", "tokens", "--output", "out"]) == 0
    assert saved(tmp_path / "out")["4.npz"].grid == (8, 8)
    assert cli.main([*arguments, "--layout", "tokens", "--layers", "5", "--output", "out"]) == 0
    assert "5: a layer norm makes the sum over channels nearly constant" in capsys.readouterr().out


def test_target_error_stops_early_and_says_so(capsys):
    arguments = [*NET, "--layers", "4", "--num-samples", "64", "--target-error", "0.9"]
    assert cli.main(arguments) == 0
    assert re.search(r"Target error 0\.9 reached: \S+ after 24 of 64 samples\.", capsys.readouterr().out)


def test_protocol_reports_the_other_tools_numbers(tmp_path, capsys):
    assert cli.main([*NET, "--protocol", "replknet", "--seed", "1", "--num-samples", "4", "--output", "out"]) == 0
    printed = capsys.readouterr().out
    assert "REPLKNET (Ding et al., CVPR 2022), layer '5'" in printed
    assert "log10(A + 1) is not scale-free" in printed
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert len(summary["protocol"]) == len(summary["layers"]) == 2
    assert saved(tmp_path / "out")["5.npz"].recipe["magnitude"] == "positive"


def test_list_layers_shows_shapes_and_the_default(capsys):
    assert cli.main([*NET, "--list-layers"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["1", "ReLU", "(N,", "4,", "16,", "16)", "*"] in lines
    assert ["2", "MaxPool2d", "(N,", "4,", "8,", "8)"] in lines
    assert ["5", "Tanh", "(N,", "4,", "8,", "8)", "*"] in lines


def test_list_layers_works_where_no_default_can_be_found(capsys):
    assert cli.main(["cli_models:tokens", "--size", "32", "--list-layers"]) == 0
    assert "None is measured without --layers and --layout" in capsys.readouterr().out


USAGE = {
    "no model": ([], "the following arguments are required: MODEL"),
    "unknown option": (["resnet18", "--frobnicate"], "unrecognized arguments: --frobnicate; captum-erf --help"),
    "misspelt model": (["resnet81"], "torchvision has no model 'resnet81'; the nearest names are resnet18"),
    "no such module": (["nowhere:net"], "There is no module 'nowhere'"),
    "no such factory": (["cli_models:nett"], "the nearest names are net"),
    "misspelt layer": (
        ["resnet18", "--layers", "layer5"],
        "ResNet has no layer 'layer5'; the nearest names are 'layer",
    ),
    "position outside": ([*NET, "--position", "3,9"], "position 9 is outside an axis of 8 units"),
    "position with one axis": ([*NET, "--position", "3"], "'3' is not center, corner, edge or Y,X"),
    "position with three axes": ([*NET, "--position", "1,2,3"], "has 3 entries, but the layer's grid"),
    "position of words": ([*NET, "--position", "a,b"], "'a,b' holds something that is no number"),
    "channel outside": ([*NET, "--channel", "7"], "--channel 7 is outside the 4 channels of 1: 0 to 3"),
    "channel of words": ([*NET, "--channel", "red"], "'red' is not random, a whole number"),
    "no samples": ([*NET, "--num-samples", "0"], "'0' is no whole number of 1 or more"),
    "no batch": ([*NET, "--batch-size", "-1"], "--batch-size"),
    "target above one": ([*NET, "--target-error", "2"], "'2' is no share between 0 and 1"),
    "unknown layout": ([*NET, "--layout", "last"], "'last' is not channels_first, channels_last"),
    "wrong layout": ([*NET, "--layout", "tokens", "--layers", "4"], "Here: --layout channels_last or --layout tokens"),
    "unknown device": ([*NET, "--device", "abacus"], "--device abacus cannot be used"),
    "no such weights": (["resnet18", "--weights", "BEST"], "resnet18 has no weights 'BEST'"),
    "no such weights file": ([*NET, "--weights", "best.pt"], "there is no file best.pt"),
    "no such folder": ([*NET, "--data", "nowhere"], "there is no folder nowhere"),
    "device without values": ([*NET, "--device", "meta"], "--device meta cannot be used: Tensor.item() cannot"),
    "seed of more than 64 bits": ([*NET, "--seed", str(10**20)], f"'{10**20}' is no whole number of 64 bits"),
    "seed of words": ([*NET, "--seed", "x"], "'x' is no whole number of 64 bits"),
    "output is a file": ([*NET, "--output", "cli_models.py"], "--output: cli_models.py cannot be made a folder"),
    "output in a file": ([*NET, "--output", "cli_models.py/x"], "folder (Not a directory); name another one"),
    "double model": (["cli_models:double", "--size", "16"], "float32, as the images, instead of torch.float64"),
    "gray model": (["cli_models:gray", "--size", "16"], "does not run on an image of shape (1, 3, 16, 16)"),
    "protocol and channel": ([*NET, "--protocol", "NEURAL_API", "--channel", "1"], "NEURAL_API fixes the channel"),
    "protocol and position": ([*NET, "--protocol", "OPENERF", "--position", "edge"], "OPENERF fixes the position"),
    "resume into nowhere": ([*NET, "--resume", "nowhere/run.pt"], "no folder nowhere to write"),
    "resume from a model": ([*NET, "--resume", "cli_models.py"], "cli_models.py is no file that --resume wrote"),
}


@pytest.mark.parametrize("case", USAGE)
def test_mistakes_are_answered_in_one_line_and_exit_2(case, capsys):
    arguments, message = USAGE[case]
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("captum-erf: error: ")
    assert "Traceback" not in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([*NET, "--data", "empty"], "empty holds no image that can be read, among 0 files", id="no images"),
        pytest.param(["cli_models:dead", "--size", "16"], "are dead", id="dead unit"),
        pytest.param([*NET, "--weights", "cli_models.py"], "no weights that can be read", id="weights"),
        pytest.param([*NET, "--weights", "nan.pt"], "nan.pt holds NaN in 1 weights (4.bias, ...)", id="weights of NaN"),
    ],
)
def test_failures_are_told_in_one_line_and_exit_1(tmp_path, arguments, message, capsys):
    (tmp_path / "empty").mkdir()
    broken = nn.ModuleDict({"0": nn.Conv2d(3, 4, 3), "4": nn.Conv2d(4, 4, 3)})
    nn.init.constant_(broken["4"].bias, math.nan)
    torch.save(broken.state_dict(), "nan.pt")
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("captum-erf: error: ")
    assert message in said


def test_dead_layers_are_named_and_the_others_written(tmp_path, capsys):
    arguments = ["cli_models:dead", "--size", "16", "--num-samples", "4"]
    both = [*arguments, "--layers", "0", "1", "--resume", "run.pt"]
    for output in ("whole", "resumed"):
        assert cli.main([*both, "--output", output]) == 0
        printed, said = capsys.readouterr()
        assert "captum-erf: warning: Left out: All samples of layer '1' are dead" in said
        assert list(table(printed)) == ["layer", "0"]
    assert cli.main([*arguments, "--layers", "0", "--output", "alone"]) == 0
    whole, resumed, alone = (saved(tmp_path / output) for output in ("whole", "resumed", "alone"))
    assert list(whole) == list(resumed) == ["0.npz"]
    assert np.array_equal(whole["0.npz"].values, alone["0.npz"].values)
    assert np.array_equal(resumed["0.npz"].values, alone["0.npz"].values)
    assert whole["0.npz"].recipe["route"] == alone["0.npz"].recipe["route"]


def test_failure_on_the_way_is_not_hidden_by_a_dead_layer(tmp_path, monkeypatch, capsys):
    read = images.Crops.__getitem__

    def fail_late(crops, number):
        if number == 5:
            raise ValueError("the disk is gone")
        return read(crops, number)

    monkeypatch.setattr(images.Crops, "__getitem__", fail_late)
    arguments = ["cli_models:dead", "--size", "16", "--layers", "0", "1", "--batch-size", "2", "--output", "out"]
    assert cli.main(arguments) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "captum-erf: error: the disk is gone"
    assert not list((tmp_path / "out").iterdir())


def test_files_that_are_no_images_are_named_and_skipped(pictures, capsys):
    (pictures / "notes.txt").write_text("no image")
    assert cli.main([*NET, "--data", str(pictures), "--layers", "4"]) == 0
    printed, said = capsys.readouterr()
    assert "captum-erf: warning: Skipped files in" in said
    assert "notes.txt (no image)" in said
    assert "12 crops of 16 x 16, one of each of 12 images" in printed


def test_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.main.__globals__, "run_through", interrupt)
    assert cli.main([*NET, "--resume", "run.pt"]) == 130
    assert capsys.readouterr().err == "captum-erf: interrupted; --resume run.pt goes on\n"


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
        assert found == {
            key: value if isinstance(value, str) else pytest.approx(value, rel=1e-6) for key, value in expected.items()
        }


def test_finished_run_is_told_again_from_its_file(capsys):
    arguments = [*RUN, "--resume", "run.pt"]
    assert [cli.main(arguments), cli.main(arguments)] == [0, 0]
    first, second = capsys.readouterr().out.split("48 crops")[1:]
    assert "Going on after 48 of 48 samples" in second
    assert table(first) == table(second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--size", "24"], "--size is 16 there and 24 here"),
        (["--seed", "1"], "--seed is 0 there and 1 here"),
        (["--layers", "4"], "the layers is ['1', '5'] there and ['4'] here"),
        (["--num-samples", "50"], "the set of images is"),
        (["--channel", "0"], "channel is 0 here and 'random' there"),
        (["--position", "corner"], "positions is ['corner'] here and ['center'] there"),
        (["--weights", "weights.pt"], "the fingerprint of the weights is"),
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
    assert "run.pt belongs to another run: the fingerprint of the images is" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (["layer1", "a.b.c"], ["layer1", "a.b.c"]),
        (["aux", "NUL", "con.1"], ["aux-", "NUL-", "con.1-"]),
        (["Conv", "conv", "conv"], ["Conv", "conv-2", "conv-3"]),
        (["a/b\\c:d*e", "..", ""], ["a-b-c-d-e", "network", "network-2"]),
    ],
)
def test_file_names_suit_every_file_system(layers, names):
    assert outputs.file_names(layers) == names


@pytest.mark.parametrize("unbuffered", [[], ["-u"]], ids=["buffered", "unbuffered"])
def test_results_are_written_although_nobody_reads_the_table(unbuffered, tmp_path):
    command = [sys.executable, *unbuffered, "-m", "captum_erf", *NET, "--num-samples", "4", "--output", "results"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("cli_models:net")
        process.stdout.close()
        assert "rror" not in process.stderr.read()
    assert process.returncode == 0
    assert list(saved(tmp_path / "results")) == ["1.npz", "5.npz"]


SHORT = [*NET, "--num-samples", "4", "--output", "results"]


def test_results_are_written_although_standard_error_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(SHORT) == 0
    assert cli.main([*NET, "--position", "3,9"]) == 2
    assert list(saved(tmp_path / "results")) == ["1.npz", "5.npz"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_results_are_written_although_standard_error_is_full(tmp_path, monkeypatch):
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert cli.main(SHORT) == 0
    assert list(saved(tmp_path / "results")) == ["1.npz", "5.npz"]


def test_terminal_without_superscripts_gets_question_marks(tmp_path, monkeypatch):
    with io.TextIOWrapper(io.BytesIO(), encoding="ascii") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert cli.main(SHORT) == 0
        assert b"sigma, R?: Gaussian fit" in terminal.buffer.getvalue()
    assert list(saved(tmp_path / "results")) == ["1.npz", "5.npz"]


def test_command_is_installed():
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="captum-erf")
    assert entry.load() is cli.main


def test_module_runs_as_a_command():
    done = subprocess.run([sys.executable, "-m", "captum_erf", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"captum-erf {importlib.metadata.version('captum-erf')}\n"
