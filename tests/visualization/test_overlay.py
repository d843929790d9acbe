"""A map over a photograph: clear where it is zero, the photograph as it was given."""

import numpy as np
import pytest
import torch
from maps import gaussian_map, make_field, maps_of, round_field
from matplotlib.figure import Figure
from PIL import Image

from captum_erf.visualization import overlay, plot, plot_layers, plot_models

FIELD = round_field(6)
PHOTO = np.random.default_rng(0).random((64, 64, 3))
LUMINANCE = PHOTO @ [0.299, 0.587, 0.114]


def layers_of(figure):
    photo, field = maps_of(figure)[0].images
    return photo, field


def test_the_map_is_clear_at_zero_and_opaque_at_its_maximum():
    _, field = layers_of(overlay(FIELD, PHOTO))
    alpha = field.to_rgba(field.get_array())[..., 3]
    values = FIELD.values / FIELD.values.max()
    assert alpha[values == 0].max() == 0
    assert alpha[values == 1].min() == 1
    assert np.all(np.diff(alpha.ravel()[np.argsort(values.ravel(), kind="stable")]) >= 0)


@pytest.mark.parametrize(
    ("image", "grey"),
    [
        pytest.param(PHOTO, LUMINANCE, id="H W 3"),
        pytest.param(np.moveaxis(PHOTO, -1, 0), LUMINANCE, id="3 H W"),
        pytest.param(torch.tensor(np.moveaxis(PHOTO, -1, 0), requires_grad=True), LUMINANCE, id="tensor"),
        pytest.param(LUMINANCE, LUMINANCE, id="H W"),
        pytest.param(LUMINANCE[None], LUMINANCE, id="1 H W"),
        pytest.param((255 * LUMINANCE).astype(np.uint8), np.floor(255 * LUMINANCE) / 255, id="0 to 255"),
        pytest.param(
            4 * LUMINANCE - 2, (LUMINANCE - LUMINANCE.min()) / np.ptp(LUMINANCE), id="normalised input, stretched"
        ),
        pytest.param(LUMINANCE[::2, ::2], LUMINANCE[::2, ::2], id="smaller, of the same proportions"),
    ],
)
def test_the_photograph_is_read_in_every_usual_form(image, grey):
    photo, field = layers_of(overlay(FIELD, image))
    assert np.allclose(photo.get_array(), grey)
    assert photo.get_extent() == field.get_extent() == [-0.5, 63.5, 63.5, -0.5]


def test_every_figure_takes_a_photograph():
    axes = Figure().subplots()
    overlay(FIELD, PHOTO, ax=axes)
    assert len(axes.images) == 2
    for figure in (
        plot(FIELD, image=PHOTO),
        plot_layers([FIELD] * 3, image=PHOTO),
        plot_models([[FIELD]], image=PHOTO),
    ):
        assert all(len(axes.images) == 2 for axes in maps_of(figure))


SOLID = make_field(gaussian_map((9, 9, 9), (4, 4, 4), np.eye(3) * 4), (1, 1, 1), (8, 8, 8))


@pytest.mark.parametrize(
    ("field", "image", "words"),
    [
        (FIELD, np.ones((64, 32)), "image is 64 x 32 and the map lies over inputs of 64 x 64; pass the crop"),
        (FIELD, np.ones((64, 64, 5)), r"An image must be of shape \(H, W\), .* got \(64, 64, 5\)"),
        (FIELD, np.ones(64), r"got \(64,\)"),
        (FIELD, np.full((64, 64), np.nan), "An image must hold finite numbers"),
        (SOLID, np.ones((9, 9)), "image lies beneath maps with two axes, and this one has 3; leave image out"),
    ],
)
def test_a_photograph_that_does_not_fit_is_refused(field, image, words):
    with pytest.raises(ValueError, match=words):
        overlay(field, image)


def test_a_file_of_sixteen_bits_is_as_bright_as_its_eight_bit_version(tmp_path):
    grey = np.linspace(0, 255, 64 * 64).reshape(64, 64)
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "8.png")
    Image.fromarray((257 * grey).astype(np.uint16)).save(tmp_path / "16.png")
    shown = [overlay(round_field(4), tmp_path / name).axes[0].images[0].get_array() for name in ("8.png", "16.png")]
    np.testing.assert_allclose(*shown, atol=1 / 255)
