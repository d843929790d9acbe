"""Crops of images: which pixels they hold, which files are read, and what is said about the others."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from captum_erf.images import IMAGENET_MEAN, IMAGENET_STD, NoImagesError, folder, photograph

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def gradient_image(height, width):
    """Red is the row, green the column."""
    rows, columns = np.indices((height, width), dtype=np.uint8)
    return np.stack([rows, columns, np.full((height, width), 7, np.uint8)], -1)


@pytest.fixture
def pictures(tmp_path):
    for number in range(6):
        save(tmp_path / ("deep/er" if number % 2 else "") / f"{number}.png", np.full((20, 24, 3), number, np.uint8))
    return tmp_path


def colours(crops):
    return [round(float(crop[0, 0, 0])) for crop in crops]


def test_photograph_gives_different_regions_the_same_each_time():
    crops = photograph(32, size=48)
    assert len(crops) == 32
    stack = torch.stack(list(crops))
    assert stack.shape == (32, 3, 48, 48)
    assert torch.equal(stack, torch.stack(list(photograph(32, size=48))))
    assert torch.equal(crops[5], photograph(6, size=48)[5])
    assert not torch.equal(stack[0], photograph(1, size=48, seed=1)[0])
    differences = (stack[:, None] - stack[None]).abs().mean((2, 3, 4))
    assert (differences + torch.eye(32)).min() > 0.05
    assert "grace_hopper.jpg" in crops.words


def test_crops_are_normalised_as_imagenet_unless_told_otherwise():
    plain = photograph(1, size=16, **PLAIN)[0] / 255
    expected = (plain - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    assert torch.allclose(photograph(1, size=16)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "rows", "columns"), [((20, 30), (0, 20), (5, 25)), ((42, 20), (11, 31), (0, 20))], ids=["wide", "high"]
)
def test_folder_takes_the_middle_of_each_image(tmp_path, shape, rows, columns):
    pixels = gradient_image(*shape)
    save(tmp_path / "image.png", pixels)
    (crop,) = folder(tmp_path, size=20, **PLAIN)
    middle = pixels[slice(*rows), slice(*columns)].transpose(2, 0, 1).astype(float)
    assert np.abs(crop.numpy() - middle).max() < 0.01


def test_image_is_scaled_by_its_shorter_side(tmp_path):
    save(tmp_path / "image.png", gradient_image(80, 120))
    (crop,) = folder(tmp_path, size=20, **PLAIN)
    assert crop[0, :, 0].diff().mean() == pytest.approx(4, abs=0.1)
    assert crop[1, 0].mean() == pytest.approx(59.5, abs=1)


def test_further_crops_lie_inside_the_image_at_various_places_and_scales(tmp_path):
    save(tmp_path / "image.png", gradient_image(100, 200))
    crops = folder(tmp_path, 40, size=10, **PLAIN)
    stack = torch.stack(list(crops))[1:]
    assert stack[:, 2].sub(7).abs().max() < 0.01
    sides = (stack[:, 0, -1, 0] - stack[:, 0, 0, 0]) * 10 / 9
    assert sides.min() < 45 < 55 < sides.max() < 72
    lefts = stack[:, 1, 0, 0]
    assert lefts.min() < 30
    assert lefts.max() > 110
    assert crops.words.startswith("40 crops of 10 x 10 of only 1 image from")


def test_folder_reads_every_image_below_it_once(pictures):
    crops = folder(pictures, size=8, **PLAIN)
    assert sorted(colours(crops)) == [0, 1, 2, 3, 4, 5]
    assert "one of each of 6 images" in crops.words


def test_fewer_samples_take_a_random_choice_that_the_seed_repeats(pictures):
    chosen = [colours(folder(pictures, 3, size=8, seed=seed, **PLAIN)) for seed in range(8)]
    assert all(len(set(colour)) == 3 for colour in chosen)
    assert len({tuple(colour) for colour in chosen}) > 3
    assert chosen[0] == colours(folder(pictures, 3, size=8, seed=0, **PLAIN))


def test_more_samples_than_images_take_them_in_turn(pictures):
    crops = folder(pictures, 15, size=8, **PLAIN)
    assert len(crops) == 15
    assert colours(crops)[:6] == colours(crops)[6:12]
    assert "15 crops of 8 x 8 of only 6 images" in crops.words


def test_without_a_number_no_more_than_32_images_are_taken(tmp_path):
    for number in range(34):
        save(tmp_path / f"{number}.png", np.zeros((4, 4, 3), np.uint8))
    assert len(folder(tmp_path, size=4)) == 32


def test_crops_make_batches_and_end(pictures):
    batches = list(DataLoader(folder(pictures, size=8), 4))
    assert [tuple(batch.shape) for batch in batches] == [(4, 3, 8, 8), (2, 3, 8, 8)]
    assert all(batch.dtype == torch.float32 for batch in batches)
    with pytest.raises(IndexError, match="crop 6 is outside the 6 crops"):
        folder(pictures, size=8)[6]


def test_files_that_are_no_images_are_skipped_by_name(pictures):
    (pictures / "notes.txt").write_text("no image")
    (pictures / "void.png").touch()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    save(pictures / "deep/cut.jpg", noise)
    whole = (pictures / "deep/cut.jpg").read_bytes()
    (pictures / "deep/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (pictures / ".hidden").write_text("not looked at")
    with pytest.warns(UserWarning) as caught:
        crops = folder(pictures, size=8, **PLAIN)
    (warning,) = caught
    assert sorted(colours(crops)) == [0, 1, 2, 3, 4, 5]
    for words in ("cut.jpg (image file is truncated", "notes.txt (no image)", "void.png (no image)"):
        assert words in str(warning.message)
    assert "hidden" not in str(warning.message)


def test_many_skipped_files_are_counted(pictures):
    for number in range(25):
        (pictures / f"{number:02}.txt").touch()
    with pytest.warns(UserWarning, match=r"00\.txt \(no image\).* and 15 more\.$"):
        folder(pictures, size=8)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_other_kinds_of_images_become_rgb(tmp_path, mode):
    picture = Image.new(mode, (12, 12))
    picture.save(tmp_path / ("image.tif" if mode == "CMYK" else "image.png"))
    (crop,) = folder(tmp_path, size=12)
    assert crop.shape == (3, 12, 12)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bits_are_read_as_their_eight_bit_version(tmp_path, mode):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    save(tmp_path / "8/image.png", levels)
    values = (levels.astype(float) * 257 + np.linspace(-100, 100, 256).reshape(16, 16)).clip(0, 65535)
    dtype = ">u2" if mode == "I;16B" else "<u2"
    (tmp_path / "16").mkdir()
    picture = Image.frombytes(mode, (16, 16), values.astype(dtype).tobytes())
    picture.save(tmp_path / "16/image.tif")
    with Image.open(tmp_path / "16/image.tif") as stored:
        assert stored.mode == mode
    (expected,), (found,) = (folder(tmp_path / bits, size=16) for bits in ("8", "16"))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_images_of_unknown_range_are_skipped_and_named(pictures, mode):
    Image.new(mode, (12, 12), 70000).save(pictures / "deep.tif")
    with pytest.warns(UserWarning, match=rf"deep\.tif \(mode {mode}, which does not tell how bright white is"):
        crops = folder(pictures, size=8)
    assert len(crops) == 6


def test_photographs_taken_sideways_are_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "image.png", gradient_image(20, 20), exif=exif)
    (crop,) = folder(tmp_path, size=20, **PLAIN)
    assert crop[1, :, 0].diff().mean() == pytest.approx(1, abs=0.1)


def test_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(NoImagesError, match="holds no image that can be read, among 0 files"):
        folder(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.warns(UserWarning, match="notes"), pytest.raises(NoImagesError, match="among 1 file;"):
        folder(tmp_path)


def test_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(NotADirectoryError, match="There is no folder"):
        folder(tmp_path / "nowhere")


def test_python_random_numbers_are_left_alone(pictures):
    random.seed(3)
    expected = random.random()
    random.seed(3)
    list(folder(pictures, 12, size=8))
    assert random.random() == expected
