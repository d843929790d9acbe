"""What networks are measured on: crops in every way, arrays, noise; and the Python that does the same."""

import contextlib
import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from captum_erf import ERFMap, cli, protocols
from captum_erf.cli import options
from captum_erf.images import photograph

pytest.importorskip("torchvision")

pytestmark = pytest.mark.usefixtures("workplace", "no_pictures")


def measured(arguments, layer):
    assert cli.main([*arguments, "--output", "out"]) == 0
    return ERFMap.load(f"out/{layer}.npz")


def test_sides_of_the_crop(capsys):
    field = measured(["cli_models:net", "--size", "16,24", "--num-samples", "3", "--layers", "4"], "4")
    assert field.values.shape == (16, 24)
    assert "3 crops of 16 x 24, at random places and scales" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--crop", "center"], "12 crops of 8 x 8, from the middle, one of each of 12 images"),
        (["--crop", "resize"], "12 crops of 8 x 8, of the whole image, resized, one of each of 12 images"),
        (["--crop", "random", "--num-samples", "12"], "at random places and scales, one of each of 12 images"),
        (["--short-side", "10"], "12 crops of 8 x 8, one of each of 12 images"),
    ],
)
def test_crops(pictures, options, words, capsys):
    arguments = ["cli_models:net", "--data", str(pictures), "--size", "8", "--layers", "4", *options]
    assert measured(arguments, "4").num_samples == 12
    assert words in capsys.readouterr().out


def test_grey_networks_get_grey_images(capsys):
    assert measured(["cli_models:other(channels=1)", "--size", "16", "--num-samples", "3", "--layers", "0"], "0")
    assert "3 crops of 16 x 16, at random places" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "options", "shape"),
    [
        ("cli_models:volumes", ["--shape", "1,6,8,10"], (6, 8, 10)),
        ("cli_models:other(channels=4)", ["--size", "9"], (9, 9)),
    ],
    ids=["volumes", "multi-spectral"],
)
def test_networks_of_other_inputs_get_noise(model, options, shape, capsys):
    field = measured([model, *options, "--num-samples", "3", "--layers", "0"], "0")
    assert field.values.shape == shape
    assert "3 samples of noise" in capsys.readouterr().out


def test_arrays_are_cut_in_the_middle(tmp_path, capsys):
    (tmp_path / "volumes").mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        np.save(tmp_path / f"volumes/{number}.npy", generator.normal(size=(8, 9, 11)))
    arguments = ["cli_models:volumes", "--shape", "1,6,8,10", "--data", "volumes", "--layers", "0"]
    assert measured(arguments, "0").num_samples == 3
    assert "3 arrays of 1 x 6 x 8 x 10 from volumes, values as they are" in capsys.readouterr().out
    np.save(tmp_path / "volumes/3.npy", np.zeros((2, 9, 11)))
    assert cli.main([*arguments, "--num-samples", "4"]) == 1
    assert (
        "3.npy has shape (1, 2, 9, 11); expected (1, 6, 8, 10) (C, *size) or a larger size" in capsys.readouterr().err
    )
    np.save(tmp_path / "volumes/3.npy", np.array([{}]), allow_pickle=True)
    assert cli.main([*arguments, "--num-samples", "4"]) == 1
    assert "3.npy holds no array that can be read without pickle" in capsys.readouterr().err


def test_images_for_a_network_that_takes_none_are_refused(pictures, capsys):
    assert cli.main(["cli_models:other(channels=4)", "--size", "9", "--data", str(pictures)]) == 2
    assert "images do not go with a network that takes 4 x 9 x 9 (channels first)" in capsys.readouterr().err


def test_wrapper_that_cannot_be_run_is_measured_through_the_network_that_it_holds(capsys):
    field = measured(["cli_models:Wrapper", "--size", "16", "--num-samples", "2", "--layers", "4"], "4")
    assert field.layer == "4"
    assert "Wrapper cannot be run itself; measured is the network that it holds as .model" in capsys.readouterr().err


def test_target_error_is_held_back_by_a_least_number_of_samples():
    arguments = ["cli_models:net", "--size", "16", "--layers", "4", "--num-samples", "64", "--target-error", "0.9"]
    assert measured(arguments, "4").num_samples == 24
    assert measured([*arguments, "--min-samples", "40"], "4").num_samples == 40


def test_the_command_knows_every_protocol():
    assert tuple(protocols.PROTOCOLS) == options.PROTOCOLS


def test_page_of_two_images_shows_each_once(tmp_path, pictures):
    for file in sorted(pictures.rglob("*.png"))[2:]:
        file.unlink()
    arguments = ["cli_models:other", "--size", "16", "--data", str(pictures), "--num-samples", "6", "--page"]
    assert cli.main([*arguments, "--output", "out"]) == 0
    page = (tmp_path / "out/page.html").read_text(encoding="utf-8")
    assert "mean of 6 samples" in page
    assert str(pictures) not in page


@pytest.mark.parametrize(
    "arguments",
    [
        ["cli_models:net", "--size", "16", "--channel", "random"],
        ["./cli_models.py:other(4)", "--size", "16,20", "--position", "corner", "--no-window", "--layers", "0", "2"],
        ["cli_models:tokens", "--size", "16", "--layout", "tokens", "--layers", "1"],
        ["cli_models:volumes", "--shape", "1,4,6,8", "--protocol", "ENERGY"],
        ["cli_models:net", "--size", "16", "--weights", "none,trained.pt", "--seed", "3", "--normalize"],
        ["cli_models:Wrapper", "--size", "8", "--data", "pictures", "--crop", "center"],
        [
            "cli_models:net",
            "cli_models:other@0",
            "--size",
            "16",
            "--page",
            "--format",
            "png,pdf",
            "--channel",
            "random",
        ],
        ["cli_models:net", "--size", "8", "--num-samples", "30", "--target-error", "0.9", "--min-samples", "28"],
    ],
    ids=["random signs", "file", "tokens", "volumes", "weights", "wrapper", "page", "least samples"],
)
def test_code_that_is_shown_does_the_same(tmp_path, pictures, arguments, capsys):
    cli.main(["cli_models:net", "--size", "16", "--list-layers"])
    torch.save(sys.modules["cli_models"].net().state_dict(), "trained.pt")
    capsys.readouterr()
    arguments = ["--num-samples", "4", "--batch-size", "3", *arguments]
    assert cli.main([*arguments, "--show-code"]) == 0
    code = capsys.readouterr().out
    assert not list(tmp_path.glob("erf-*"))
    scope = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "shown", "exec"), scope)
    assert cli.main([*arguments, "--output", "out"]) == 0
    found = {(field.layer, field.values.tobytes()) for field in map(ERFMap.load, tmp_path.glob("out/*.npz"))}
    assert {(field.layer, field.values.tobytes()) for field in scope["fields"]} == found
    for drawn in (*tmp_path.glob("out/*.p?[fg]"), *tmp_path.glob("out/*.html")):
        assert (tmp_path / drawn.name).stat().st_size == drawn.stat().st_size
    if "--page" in arguments:
        assert (tmp_path / "page.html").read_bytes() == (tmp_path / "out/page.html").read_bytes()
        assert "grace_hopper.jpg, crop 2" in (tmp_path / "page.html").read_text()
    assert scope["fields"][0].layer in printed.getvalue()


def test_short_side_scales_as_resize_before_a_central_crop_does():
    transforms = pytest.importorskip("torchvision").transforms
    crops = photograph(1, size=96, short_side=128, cut="center", mean=(0.0,) * 3, std=(1.0,) * 3)
    transform = transforms.Compose([transforms.Resize(128), transforms.CenterCrop(96), transforms.ToTensor()])
    assert (crops[0] - transform(Image.open(crops.files[0]))).abs().mean() < 0.01


def test_other_networks_see_the_same_places(pictures):
    small = photograph(3, size=16, mean=(0.0,) * 3, std=(1.0,) * 3)
    large = replace(small, look=replace(small.look, size=(32, 32)))
    grey = replace(small, look=small.look.in_grey())
    for one, other, gray in zip(small, large, grey, strict=True):
        assert (torch.nn.functional.avg_pool2d(other, 2) - one).abs().mean() < 0.02
        assert gray.shape == (1, 16, 16)
        assert (gray[0] - one.mean(0)).abs().mean() < 0.05
