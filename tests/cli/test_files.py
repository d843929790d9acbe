"""What a measurement leaves behind."""

import json
import sys

import pytest
import torch
from command import NET, saved

from captum_erf import cli
from captum_erf.cli import naming

pytest.importorskip("torchvision")

pytestmark = pytest.mark.usefixtures("workplace", "no_pictures")


def test_running_again_writes_over_the_earlier_results(tmp_path):
    short = [*NET, "--num-samples", "2", "--layers", "4"]
    assert [cli.main(short), cli.main([*short, "--seed", "1"])] == [0, 0]
    place = tmp_path / "erf-cli_models-net"
    assert len(list(place.iterdir())) == 4
    assert json.loads((place / "summary.json").read_text())["options"]["seed"] == 1
    assert saved(place)["4.npz"].recipe["weights"].endswith("(seed 1)")


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
    assert naming.distinct(layers) == names


def test_nothing_stale_is_left_and_what_others_wrote_stays(tmp_path):
    place = tmp_path / "out"
    arguments = [*NET, "--num-samples", "2", "--output", "out"]
    assert cli.main([*arguments, "--layers", "1", "4", "--format", "png,pdf"]) == 0
    (place / "notes.txt").write_text("mine")
    (place / "mine.npz").write_text("mine")
    assert cli.main([*arguments, "--layers", "4"]) == 0
    names = {"erf.png", "summary.csv", "summary.json", "4.npz"}
    assert {file.name for file in place.iterdir()} == {*names, "notes.txt", "mine.npz"}
    assert set(json.loads((place / "summary.json").read_text())["files"]) == names


@pytest.mark.parametrize("listed", [["../precious.txt"], "precious.txt", None, [3]], ids=str)
def test_summary_of_another_kind_removes_nothing(tmp_path, listed):
    (tmp_path / "precious.txt").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious.txt").write_text("mine")
    (tmp_path / "out/summary.json").write_text(json.dumps({"files": listed}))
    assert cli.main([*NET, "--num-samples", "2", "--output", "out"]) == 0
    assert (tmp_path / "precious.txt").exists()
    assert (tmp_path / "out/precious.txt").exists()


def test_folder_without_a_name_of_its_own_tells_weights_apart(tmp_path):
    torch.manual_seed(3)
    cli.main([*NET, "--list-layers"])
    torch.save(sys.modules["cli_models"].net().state_dict(), "epoch9.pt")
    for weights in ("none", "epoch9.pt"):
        assert cli.main([*NET, "--num-samples", "2", "--layers", "4", "--weights", weights]) == 0
    folders = {place.name: saved(place)["4.npz"] for place in tmp_path.glob("erf-*")}
    assert folders.keys() == {"erf-cli_models-net", "erf-cli_models-net-epoch9"}
    assert folders["erf-cli_models-net-epoch9"].recipe["weights"] == "from the file epoch9.pt"
