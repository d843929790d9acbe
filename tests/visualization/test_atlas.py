"""Many maps in one picture: what a reader finds in it, and how large it gets."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from captum_erf.visualization.atlas import EXPONENT, atlas, extents, finest_side, tile


def noise(*shape):
    return np.random.default_rng(0).random(shape)


def levels_of(found):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found["src"].split(",")[1]))))


def test_a_tile_is_cropped_to_what_is_not_zero():
    values = np.zeros((20, 30))
    values[4:9, 11:13] = 1 + noise(5, 2)
    assert extents(values) == (5, 2)
    found = tile(values, 64)
    assert (found.levels.shape, found.offset, found.step) == ((5, 2), (4, 11), 1)


def test_a_large_tile_holds_the_means_of_blocks():
    values = noise(10, 7)
    found = tile(values, 4)
    assert (found.levels.shape, found.step) == ((4, 3), 3)
    means = np.array([[values[i : i + 3, j : j + 3].mean() for j in (0, 3, 6)] for i in (0, 3, 6, 9)])
    shares = (found.levels / 255) ** (1 / EXPONENT)
    np.testing.assert_allclose(shares, means / means.max(), atol=0.5 / 255 / EXPONENT)


def test_a_map_of_zeros_is_a_tile_of_zeros():
    found = atlas([tile(np.zeros((5, 5)), 8)])
    assert not levels_of(found).any()


def test_each_map_is_found_at_its_place():
    maps = [np.pad(noise(height, 9 - height), 3) for height in range(1, 8)]
    found = atlas([tile(values, 64) for values in maps])
    picture = levels_of(found)
    for values, (x, y, width, height, left, top, step) in zip(maps, found["places"], strict=True):
        shares = (picture[y : y + height, x : x + width] / 255) ** (1 / EXPONENT)
        part = values[top : top + height, left : left + width]
        assert step == 1
        np.testing.assert_allclose(shares, part / values.max(), atol=0.5 / 255 / EXPONENT)


@pytest.mark.parametrize("most", [5e3, 5e4, 1e9])
def test_maps_are_reduced_until_they_fit_and_noise_does_not_grow(most):
    maps = [noise(150, 100) for _ in range(12)]
    side = finest_side([extents(values) for values in maps], most)
    tiles = [tile(values, side) for values in maps]
    assert sum(one.levels.size for one in tiles) <= most
    found = atlas(tiles)
    assert len(found["src"]) < 4 / 3 * (1.1 * levels_of(found).size + 200)
    assert max(tiles[0].levels.shape) == {5e3: 22, 5e4: 75, 1e9: 150}[most]
