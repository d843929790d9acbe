"""The figure of one map: that marks stand where the numbers say, and that every kind of map is drawn."""

import numpy as np
import pytest
import torch
from maps import OBLIQUE, gaussian_map, make_field, round_field, texts, trf_around
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Ellipse, Rectangle

from captum_erf import EffectiveReceptiveField
from captum_erf.text import number
from captum_erf.visualization import plot, plot_layers


@pytest.fixture
def field():
    values = gaussian_map((48, 64), (20, 30), OBLIQUE)
    return make_field(values, (-1, 9), (42, 52), noise=0.05)


def rectangles(axes):
    found = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in found]


def test_boxes_centre_and_colours_are_those_of_the_map(field):
    axes = plot(field, zoom="input").axes[0]
    (image,) = axes.images
    assert np.allclose(image.get_array(), field.values / field.values.max())
    assert image.norm(0.25) == pytest.approx(0.5)
    trf, half, most = rectangles(axes)
    assert trf == (8.5, -1.5, 43, 43)
    mass = field.radius_mass()
    assert [box[2:] for box in (half, most)] == [(mass.diameter(share),) * 2 for share in (0.5, 0.9)]
    cross = [line for line in axes.lines if line.get_marker() == "+"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in cross] == [(30.0, 20.0)]
    assert axes.get_xlim() == (-0.5, 63.5)
    assert axes.get_ylim() == (47.5, -0.5)


@pytest.mark.parametrize(
    ("shape", "mean", "covariance"),
    [
        pytest.param((48, 64), (20, 30), OBLIQUE, id="2-D"),
        pytest.param((32, 36, 40), (16, 20, 17), [[30, 10, -8], [10, 40, 12], [-8, 12, 50]], id="3-D off centre"),
    ],
)
def test_ellipses_lie_one_and_two_sigma_from_the_fitted_mean(shape, mean, covariance):
    center = (16, 18, 18) if len(shape) == 3 else mean
    lower, upper = tuple(c - 10 for c in center), tuple(c + 11 for c in center)
    figure = plot(make_field(gaussian_map(shape, mean, covariance), lower, upper))
    planes = [(0, 1)] if len(shape) == 2 else [(1, 2), (0, 2), (0, 1)]
    precision = np.linalg.inv(covariance)
    for axes, plane in zip(figure.axes, planes, strict=False):
        ellipses = [patch for patch in axes.patches if isinstance(patch, Ellipse)]
        assert len(ellipses) == 2
        for ellipse, level in zip(ellipses, (1, 2), strict=True):
            for x, y in ellipse.get_path().transformed(ellipse.get_patch_transform()).vertices[:-1:3]:
                place = np.array(center, dtype=float)
                place[list(plane)] = y, x
                offset = place - mean
                assert np.sqrt(offset @ precision @ offset) == pytest.approx(level, rel=1e-3)


def test_curve_marks_and_band_are_the_mass_and_its_jackknife(field):
    axes = plot(field).axes[1]
    mass = field.radius_mass()
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "o"]
    assert marks == [(mass.diameter(share), share) for share in (0.5, 0.9)]
    curve = axes.lines[0]
    for side, share in marks:
        assert np.interp(side - 2, curve.get_xdata(), curve.get_ydata()) < share
        assert np.interp(side, curve.get_xdata(), curve.get_ydata()) >= share
    (band,) = [artist for artist in axes.collections if isinstance(artist, FillBetweenPolyCollection)]
    spot = int(np.argmin(np.abs(curve.get_ydata() - 0.5)))
    side, share = curve.get_xdata()[spot], curve.get_ydata()[spot]
    _, error = field.estimate(lambda found: found.radius_mass().mass[spot])
    edges = [y for x, y in band.get_paths()[0].vertices if x == side]
    assert error > 0
    assert sorted(set(np.round(edges, 12))) == pytest.approx([share - error, share + error])


@pytest.mark.parametrize(
    ("size", "half", "end"), [(64, 20, 64), (64, 60, 64), (100, 8, 25.5)], ids=["wide", "wider than input", "small"]
)
def test_curve_ends_where_the_input_or_what_is_shown_of_it_ends(size, half, end):
    figure = plot(round_field(3, size, half))
    assert figure.axes[1].get_xlim() == (0, end)


@pytest.mark.parametrize(
    ("outside", "changes", "words"),
    [
        (0.4, {}, "heoretical field 9 x 5 px, 40 % of it outside the input"),
        (None, {"is_clipped": True}, "heoretical field at least 9 x 5 px"),
        (0.0, {"global_axes": (True, True)}, "heoretical field: global"),
        (0.0, {"global_axes": (False, True)}, "heoretical field 9 x global px"),
    ],
)
def test_the_theoretical_field_is_named(outside, changes, words):
    values = gaussian_map((20, 20), (4, 4), [[4, 0], [0, 4]])
    trf = trf_around((0, 2), (9, 7), (20, 20), outside=outside, **changes)
    assert words in texts(plot(make_field(values, None, None, theoretical=trf)))


SMALL = gaussian_map((20, 24), (10, 12), [[9, 0], [0, 4]])
KINDS = {
    "no theoretical field": make_field(SMALL, (), (), theoretical=None),
    "one group, no errors": make_field(SMALL, (8, 8), (13, 17), groups=1),
    "constant, no Gaussian": make_field(np.ones((20, 24)), (8, 8), (13, 17)),
    "signed": make_field(SMALL - SMALL.mean(), (8, 8), (13, 17), magnitude="signed"),
    "zero everywhere": make_field(np.zeros((20, 24)), (8, 8), (13, 17)),
    "centre outside the input": make_field(SMALL, (-9, 8), (2, 17)),
    "field outside the input": make_field(SMALL, (-19, 8), (-8, 17)),
    "one pixel": make_field(np.pad([[1.0]], 9), (9, 9), (10, 10)),
    "a group of zeros only": make_field(SMALL, (8, 8), (13, 17), groups=2, noise=0.1),
    "very wide": make_field(gaussian_map((8, 300), (4, 150), [[4, 0], [0, 900]]), (0, 100), (8, 201)),
    "very high": make_field(gaussian_map((300, 8), (150, 4), [[900, 0], [0, 4]]), (100, 0), (201, 8)),
    "1-D": make_field(gaussian_map((40,), (20,), [[9]]), (5,), (36,), noise=0.1),
    "3-D": make_field(gaussian_map((9, 10, 11), (4, 5, 5), np.eye(3) * 4), (1, 1, 1), (8, 8, 8)),
}
KINDS["a group of zeros only"].groups.sums[0] = 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_map_is_drawn_on_every_scale(kind):
    for scale in ("power", "log", "linear", 0.2):
        plot(KINDS[kind], scale=scale).draw_without_rendering()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_map_has_a_place_among_layers(kind):
    plot_layers([KINDS[kind], KINDS[kind]]).draw_without_rendering()


def test_zoom_shows_the_theoretical_field_with_a_margin_or_the_whole_input():
    values = np.zeros((100, 100))
    values[46:54, 48:56] = 1.0
    field = make_field(values, (46, 48), (54, 56))
    near, whole = (plot(field, zoom=zoom).axes[0] for zoom in ("field", "input"))
    assert (near.get_xlim(), near.get_ylim()) == ((45.5, 57.5), (55.5, 43.5))
    assert (whole.get_xlim(), whole.get_ylim()) == ((-0.5, 99.5), (99.5, -0.5))


def test_exponent_and_colour_map_are_those_asked_for(field):
    (image,) = plot(field, scale=0.2, cmap="viridis").axes[0].images
    assert image.norm(0.5**5) == pytest.approx(0.5)
    assert image.cmap.name == "viridis"


def test_a_map_with_negative_values_has_a_colour_in_the_middle_and_no_curve():
    figure = plot(KINDS["signed"])
    (image,) = figure.axes[0].images
    assert (image.norm(-1), image.norm(0), image.norm(1)) == pytest.approx((0, 0.5, 1))
    assert "negative values" in texts(figure)
    assert not [axes for axes in figure.axes if axes.get_ylabel() == "share of the map"]


def test_in_axes_of_the_users_the_map_stands_alone(field):
    figure = Figure()
    axes = figure.subplots()
    assert plot(field, ax=axes, title="mine") is figure
    assert figure.axes == [axes]
    assert axes.get_title() == "mine"
    named = [text.get_text() for text in axes.legend().get_texts()]
    sides = [field.estimate(lambda f, share=share: f.radius_mass().diameter(share)) for share in (0.5, 0.9)]
    assert [words.split(" px")[0] for words in named[:3]] == [
        "theoretical field 43",
        f"50 % of the map in {number(*sides[0])}",
        f"90 % of the map in {number(*sides[1])}",
    ]


def test_a_line_in_axes_of_the_users_is_drawn_with_its_legend():
    axes = Figure().subplots()
    figure = plot(make_field(gaussian_map((60,), (30,), [[20]]), (20,), (41,)), ax=axes, zoom="input")
    assert axes.legend().get_texts()[0].get_text() == "theoretical field 21 px"
    figure.draw_without_rendering()


def test_a_unit_without_a_network_name_is_drawn():
    erf = EffectiveReceptiveField(torch.nn.Conv2d(1, 1, 3), layer="")
    figure = erf.aggregate([torch.randn(4, 1, 8, 8)]).plot()
    assert "Conv2d: the network, unit (3, 3) of 6 x 6." in texts(figure)


def test_axes_are_in_the_recipes_spacing(field):
    figure = plot(make_field(field.values, (10, 10), (53, 53), spacing="0.5,0.25mm"), zoom="input")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x [mm]", "y [mm]")
    for axis, step in ((axes.xaxis, 0.25), (axes.yaxis, 0.5)):
        places, word = axis.get_majorticklocs(), axis.get_major_formatter()
        assert len(places) > 2
        assert [float(word(place)) for place in places] == pytest.approx(places * step)
    assert "A pixel is 0.5,0.25mm." in texts(figure)


def test_marks_of_a_line_are_named():
    figure = plot(KINDS["1-D"])
    named = " ".join(text.get_text() for text in figure.findobj(Legend)[0].get_texts())
    for words in ("theoretical field 31 px", "50 % of the map in", "Gaussian fit (3.0 px", "unit centre (20)"):
        assert words in named
