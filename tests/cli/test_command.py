"""The command in this process: what it prints and writes."""

import csv
import io
import json
import re
import sys

import numpy as np
import pytest
import torch
from command import NET, saved, table
from torch.utils.data import DataLoader

from captum_erf import EffectiveReceptiveField, ERFMap, cli
from captum_erf.images import folder, photograph

pytest.importorskip("torchvision")

pytestmark = pytest.mark.usefixtures("workplace", "no_pictures")


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
        assert found[name].recipe["weights"] == "as its code left them (seed 5)"
    summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    assert [row["layer"] for row in summary["layers"]] == ["4", "1"]
    assert summary["layers"][0]["images"] == f"7 crops of 16 x 16, one of each of 7 images from {pictures}"
    assert {key: summary["layers"][0][key] for key in expected[0].summary()} == expected[0].summary()
    with (place / "summary.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[0]["diameter_50"]) == expected[0].radius_mass().diameter(0.5)
    assert float(rows[0]["extent_50_1_0"]) == pytest.approx(expected[0].extent(0.5)[1][0])
    assert [rows[1][f"grid_{axis}"] for axis in (0, 1)] == ["16", "16"]


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
    assert saved(tmp_path / "out")["3.npz"].grid == (8, 8)
    assert cli.main([*arguments, "--layout", "tokens", "--layers", "4", "--output", "out"]) == 0
    assert "4: a layer norm makes the sum over channels nearly constant" in capsys.readouterr().out


def test_target_error_stops_early_and_says_so(capsys):
    arguments = [*NET, "--layers", "4", "--num-samples", "64", "--target-error", "0.9"]
    assert cli.main(arguments) == 0
    assert re.search(r"Target error 0\.9 reached: \S+ after 24 of 64 samples\.", capsys.readouterr().out)


def test_normalize_lets_every_sample_weigh_the_same(tmp_path, capsys):
    assert cli.main([*NET, "--normalize", "--num-samples", "5", "--output", "out"]) == 0
    for field in map(ERFMap.load, tmp_path.glob("out/*.npz")):
        assert field.recipe["normalize"] is True
        assert field.values.sum() == pytest.approx(1)
        assert "each sample over its own sum" in str(field)


def test_protocol_reports_the_other_tools_numbers(tmp_path, capsys):
    assert cli.main([*NET, "--protocol", "replknet", "--seed", "1", "--num-samples", "4", "--output", "out"]) == 0
    printed = capsys.readouterr().out
    assert "REPLKNET (Ding et al., CVPR 2022), layer '5'" in printed
    assert "log10(A + 1) is not scale-free" in printed
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert len(summary["protocol"]) == len(summary["layers"]) == 2
    assert saved(tmp_path / "out")["5.npz"].recipe["magnitude"] == "positive"


def test_list_layers_shows_outputs_fields_and_the_default(capsys):
    assert cli.main([*NET, "--list-layers"]) == 0
    lines = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["layer", "kind", "output", "grid", "stride", "size", "center", "halo"]
    assert ["1", "ReLU", "(N, 4, 16, 16)", "16 x 16", "1 x 1", "3 x 3", "(8, 8)", "1 1 x 1 1", "*"] in lines
    (pooled,) = [line for line in lines if line[:2] == ["2", "MaxPool2d"]]
    assert pooled[2:6] == ["(N, 4, 8, 8)", "8 x 8", "2 x 2", "4 x 4"]
    (last,) = [line for line in lines if line[:2] == ["5", "Tanh"]]
    assert last[-1] == "*"


def test_list_layers_works_where_no_default_can_be_found(capsys):
    assert cli.main(["cli_models:tokens", "--size", "32", "--list-layers"]) == 0
    assert "None is measured without --layers and --layout" in capsys.readouterr().out


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


def test_files_that_are_no_images_are_named_and_skipped(pictures, capsys):
    (pictures / "notes.txt").write_text("no image")
    assert cli.main([*NET, "--data", str(pictures), "--layers", "4"]) == 0
    printed, said = capsys.readouterr()
    assert "captum-erf: warning: Skipped files in" in said
    assert "notes.txt (no image)" in said
    assert "12 crops of 16 x 16, one of each of 12 images" in printed


SHORT = [*NET, "--num-samples", "4", "--output", "results"]


def test_terminal_without_superscripts_gets_question_marks(tmp_path, monkeypatch):
    with io.TextIOWrapper(io.BytesIO(), encoding="ascii") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert cli.main(SHORT) == 0
        assert b"? one standard error over 4 crops of 1 photograph" in terminal.buffer.getvalue()
    assert list(saved(tmp_path / "results")) == ["1.npz", "5.npz"]
