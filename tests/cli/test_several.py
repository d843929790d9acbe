"""Several networks, each with several weights, in one table, one figure and one folder."""

import csv
import json
import re
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from captum_erf import EffectiveReceptiveField, ERFMap, cli, visualization
from captum_erf.images import photograph
from captum_erf.text import number

pytest.importorskip("torchvision")

pytestmark = pytest.mark.usefixtures("workplace")

SMALL = ["--size", "16", "--num-samples", "4", "--output", "out"]


@pytest.fixture
def trained(workplace):
    """A file with weights for ``cli_models:net``."""
    cli.main(["cli_models:net", "--size", "16", "--list-layers"])
    torch.manual_seed(9)
    model = sys.modules["cli_models"].net()
    torch.save({"state_dict": model.state_dict()}, "trained.pt")
    return model.eval()


@pytest.fixture
def figures(monkeypatch):
    """What is drawn, as rows of labels."""
    drawn, draw = [], visualization.plot_models

    def keep(rows):
        drawn.append({label: list(row) for label, row in rows.items()})
        return draw(rows)

    monkeypatch.setattr(visualization, "plot_models", keep)
    return drawn


def table(printed):
    lines = [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()]
    start = next(place for place, line in enumerate(lines) if line[0] in ("model", "weights"))
    return lines[start : lines.index([""], start)]


def test_networks_and_weights_make_rows_columns_and_files(tmp_path, trained, figures, capsys):
    capsys.readouterr()
    arguments = ["cli_models:net", "cli_models:other(6)@0", "--weights", "none,cli_models:net=trained.pt"]
    assert cli.main([*arguments, *SMALL]) == 0
    heads, *rows = table(capsys.readouterr().out)
    assert heads[:4] == ["model", "weights", "layer", "grid"]
    assert [row[:3] for row in rows] == [["net", "random", "5"], ["net", "trained", "5"], ["other(6)", "random", "0"]]
    assert figures == [{"random": ["net", "other(6) 0"], "trained": ["net"]}]
    names = {"net-random.npz", "net-trained.npz", "other-6-random-0.npz", "models.png", "summary.csv", "summary.json"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    expected = EffectiveReceptiveField(trained, "5").aggregate(DataLoader(photograph(4, size=16), 8))
    assert np.array_equal(ERFMap.load("out/net-trained.npz").values, expected.values)
    with open("out/summary.csv", newline="") as stream:
        sheet = list(csv.DictReader(stream))
    assert [row["model"] for row in sheet] == ["cli_models:net", "cli_models:net", "cli_models:other(6)"]
    assert [row["weights"] for row in sheet] == [
        "as its code left them (seed 0)",
        "from the file trained.pt",
        "as its code left them (seed 0)",
    ]
    assert {row["channel"] for row in sheet} == {"sum over all channels, so that channels of opposite sign cancel"}
    assert all(row["images"].startswith("4 crops of 16 x 16") for row in sheet)


def test_one_network_before_and_after_training_keeps_a_layer_for_every_resolution(trained, figures, capsys):
    capsys.readouterr()
    assert cli.main(["cli_models:net", "--weights", "none,trained.pt", *SMALL, "--format", "pdf,svg"]) == 0
    heads, *rows = table(capsys.readouterr().out)
    assert heads[:2] == ["weights", "layer"]
    assert [row[:2] for row in rows] == [["random", "1"], ["random", "5"], ["trained", "1"], ["trained", "5"]]
    assert figures == [{"random": ["1", "5"], "trained": ["1", "5"]}]
    with open("out/summary.json") as stream:
        assert json.load(stream)["files"][:2] == ["models.pdf", "models.svg"]


def test_networks_of_other_inputs_are_measured_side_by_side(capsys):
    assert cli.main(["cli_models:net", "cli_models:other(channels=5)", *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "4 crops of 16 x 16, at random places and scales" in printed
    assert "4 samples of noise, 5 x 16 x 16" in printed


@pytest.mark.parametrize("call", ["0", "-1"])
def test_interrupted_runs_of_several_networks_go_on_in_files_of_their_own(tmp_path, call, capsys):
    arguments = ["cli_models:net@1", "cli_models:other", *SMALL, "--resume", "run.pt", "--call", call]
    assert [cli.main(arguments), cli.main(arguments)] == [0, 0]
    assert {file.name for file in tmp_path.glob("run*")} == {"run-net-random.pt", "run-other-random.pt"}
    assert capsys.readouterr().out.count("Going on after 4 of 4 samples") == 2


def test_differences_are_paired_and_to_the_first_row(capsys):
    arguments = ["cli_models:net", "cli_models:other", "cli_models:other(6)", *SMALL]
    assert cli.main(arguments) == 0
    heads, *rows = table(capsys.readouterr().out)
    assert heads[-2:] == ["Δ 50 %", "Δ 90 %"]
    assert rows[0][-2:] == ["-", "-"]
    maps = [ERFMap.load(f"out/{name}.npz") for name in ("net-random", "other-random", "other-6-random")]
    for row, field in zip(rows[1:], maps[1:], strict=True):
        value, error = field.difference(maps[0], lambda found: found.radius_mass().diameter(0.5))
        assert row[-2] == number(value, error)


def test_errors_are_over_images_where_there_are_several(pictures, capsys):
    assert cli.main(["cli_models:net", "--size", "8", "--data", str(pictures), "--num-samples", "30"]) == 0
    assert "over 12 images (30 samples), in 10 groups" in " ".join(capsys.readouterr().out.split())


def test_errors_of_one_photograph_say_what_they_leave_out(capsys):
    assert cli.main(["cli_models:net", *SMALL]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "over 4 crops of 1 photograph, in 4 groups" in printed
    assert "between its crops, not between photographs. What another draw of random weights" in printed


def test_page_and_extents(capsys):
    arguments = ["cli_models:other@0", *SMALL, "--page", "--spacing", "0.5mm"]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "50 % y [mm]" in printed
    assert re.search(r"-\d\.\d{3} to \d\.\d{3} \(\d", printed)
    with open("out/page.html", encoding="utf-8") as page:
        assert "other" in page.read()
    with open("out/summary.json") as stream:
        assert "page.html" in json.load(stream)["files"]


def test_differences_are_left_out_where_samples_differ(capsys):
    """The first convolution's map is the same for all samples, so that two in each group are enough."""
    arguments = ["cli_models:net@0", "cli_models:other@2", "--size", "16", "--num-samples", "40", "--batch-size", "5"]
    assert cli.main([*arguments, "--target-error", "0.0005", "--output", "out"]) == 0
    printed = capsys.readouterr().out
    assert [ERFMap.load(f"out/{name}.npz").num_samples for name in ("net-random-0", "other-random-2")] == [20, 40]
    assert [row[-2:] for row in table(printed)[1:]] == [["-", "-"], ["-", "-"]]
    assert "Δ is left out where a network stopped after another number of samples" in " ".join(printed.split())


def test_extents_in_the_unit_of_the_spacing(capsys):
    assert cli.main(["cli_models:other@0", *SMALL, "--spacing", "0.5mm"]) == 0
    printed = capsys.readouterr().out
    lines = [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()]
    heads = next(line for line in lines if "[mm]" in " ".join(line))
    cells = dict(zip(heads, lines[lines.index(heads) + 1], strict=True))
    with open("out/summary.json") as stream:
        (row,) = json.load(stream)["layers"]
    assert cells["ERF 50 % [mm]"] == number(0.5 * row["diameter_50"], 0.5 * row["diameter_50_se"], 3)
    lower, upper = row["extent_90"][0]
    assert cells["90 % y [mm]"].startswith(f"{0.5 * lower:.3f} to {0.5 * upper:.3f}")
    told = " ".join(printed.split())
    assert "Lengths in pixels of 0.5mm." in told
    assert "y, x: ends of the shortest interval with that share of the map, from the unit's own cell." in told


def test_page_of_a_network_for_other_than_colour_images():
    assert cli.main(["cli_models:other(3, 5)@0", "--page", *SMALL]) == 0
    with open("out/page.html", encoding="utf-8") as page:
        text = page.read()
    assert "noise 3" in text
    assert "mean of 4 samples" in text
