"""Figures: that the marks stand where the numbers say, that every kind of map is drawn, that nothing overlaps."""

import itertools

import matplotlib._pylab_helpers
import numpy as np
import pytest
import torch
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.patches import Ellipse, Rectangle

from captum_erf import EffectiveReceptiveField, ERFMap
from captum_erf.geometry.field import TheoreticalReceptiveField
from captum_erf.geometry.region import Region
from captum_erf.result.sums import Groups
from captum_erf.visualization import convergence, plot, plot_layers

OBLIQUE = [[60.0, 40.0], [40.0, 90.0]]


def trf_around(lower, upper, shape, **changes):
    size = tuple(high - low for low, high in zip(lower, upper, strict=True))
    fields = {
        "lower": lower,
        "upper": upper,
        "size": size,
        "stride": (1,) * len(shape),
        "center": tuple((low + high - 1) / 2 for low, high in zip(lower, upper, strict=True)),
        "is_clipped": False,
        "outside": 0.0,
        "input_size": shape,
        "grid": shape,
        "position": tuple(length // 2 for length in shape),
        "global_axes": (False,) * len(shape),
    }
    return TheoreticalReceptiveField(**fields | changes)


def gaussian_map(shape, mean, covariance):
    offsets = np.stack(np.indices(shape), -1) - np.array(mean)
    return np.exp(-0.5 * np.einsum("...i,ij,...j", offsets, np.linalg.inv(np.array(covariance)), offsets))


def make_field(values, lower, upper, *, layer="layer", groups=4, noise=0.0, theoretical="box", magnitude="abs", per=5):
    """An ERFMap whose groups scatter around the values."""
    generator = np.random.default_rng(len(layer) + per)
    sums = np.stack([per * values * (1 + noise * generator.standard_normal(values.shape)) for _ in range(groups)])
    counts = np.full(groups, per)
    trf = trf_around(lower, upper, values.shape) if theoretical == "box" else theoretical
    recipe = {"magnitude": magnitude, "channel": None}
    region = Region.whole(values.shape)
    return ERFMap(Groups(sums, counts, 0 * counts, region, values.shape), layer, trf, recipe)


@pytest.fixture
def field():
    values = gaussian_map((48, 64), (20, 30), OBLIQUE)
    return make_field(values, (-1, 9), (42, 52), noise=0.05)


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_box_centre_and_colours_are_those_of_the_map(field):
    axes = plot(field).axes[0]
    (image,) = axes.images
    assert np.allclose(image.get_array(), field.values / field.values.max())
    assert image.norm(0.25) == pytest.approx(0.5)
    (box,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert (*box.get_xy(), box.get_width(), box.get_height()) == (8.5, -1.5, 43, 43)
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


def test_curve_marks_and_band_are_the_radius_mass_and_its_jackknife(field):
    figure = plot(field)
    axes = figure.axes[1]
    curve, mass = axes.lines[0], field.radius_mass()
    assert np.allclose(curve.get_xdata(), 2 * mass.radii + 1)
    assert np.allclose(curve.get_ydata(), mass.mass)
    marks = {line.get_marker(): line.get_xdata()[0] for line in axes.lines if line.get_marker() in "osD"}
    assert marks == {"o": mass.diameter(0.5), "s": mass.diameter(0.9), "D": mass.diameter(0.95)}
    (band,) = [artist for artist in axes.collections if isinstance(artist, FillBetweenPolyCollection)]
    spot = int(np.argmin(np.abs(mass.mass - 0.5)))
    side = 2 * mass.radii[spot] + 1
    _, error = field.estimate(lambda found: found.radius_mass().mass[spot])
    edges = [y for x, y in band.get_paths()[0].vertices if x == side]
    assert error > 0
    assert sorted(set(np.round(edges, 12))) == pytest.approx([mass.mass[spot] - error, mass.mass[spot] + error])


def test_caption_and_legends_say_what_is_seen(field):
    said = texts(plot(field, scale="log"))
    for words in (
        "Effective receptive field of layer, unit (24, 32) of 48 x 64",
        "Mean |dy/dx| over 20 samples of 48 x 64",
        "log scale",
        "theoretical field 43 px",
        "unit centre (20, 30)",
        f"50 % in {field.radius_mass().diameter(0.5):.1f} ±",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("outside", "changes", "words"),
    [
        (0.4, {}, "theoretical field 9 x 5 px, 40 % of it outside the input"),
        (None, {"is_clipped": True}, "theoretical field at least 9 x 5 px"),
        (0.0, {"global_axes": (True, True)}, "theoretical field: global"),
        (0.0, {"global_axes": (False, True)}, "theoretical field 9 x global px"),
    ],
)
def test_legend_names_the_theoretical_field(outside, changes, words):
    values = gaussian_map((20, 20), (4, 4), [[4, 0], [0, 4]])
    trf = trf_around((0, 2), (9, 7), (20, 20), outside=outside, **changes)
    assert words in texts(plot(make_field(values, None, None, theoretical=trf)))


SMALL = gaussian_map((20, 24), (10, 12), [[9, 0], [0, 4]])
KINDS = {
    "no theoretical field": make_field(SMALL, (), (), theoretical=None),
    "one group, no errors": make_field(SMALL, (8, 8), (13, 17), groups=1),
    "constant, no Gaussian": make_field(np.ones((20, 24)), (8, 8), (13, 17)),
    "signed": make_field(SMALL - SMALL.mean(), (8, 8), (13, 17), magnitude="signed"),
    "centre outside the input": make_field(SMALL, (-9, 8), (2, 17)),
    "one pixel": make_field(np.pad([[1.0]], 9), (9, 9), (10, 10)),
    "a group of zeros only": make_field(SMALL, (8, 8), (13, 17), groups=2, noise=0.1),
    "1-D": make_field(gaussian_map((40,), (20,), [[9]]), (5,), (36,), noise=0.1),
    "3-D": make_field(gaussian_map((9, 10, 11), (4, 5, 5), np.eye(3) * 4), (1, 1, 1), (8, 8, 8)),
}
KINDS["a group of zeros only"].groups.sums[0] = 0


@pytest.mark.parametrize("scale", ["power", "log", "linear"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_map_is_drawn_on_every_scale(kind, scale):
    plot(KINDS[kind], scale=scale).draw_without_rendering()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_map_has_a_place_among_layers(kind):
    plot_layers([KINDS[kind], KINDS[kind]]).draw_without_rendering()


def test_small_fields_are_shown_enlarged():
    values = np.zeros((100, 100))
    values[48:53, 50:55] = 1.0
    axes = plot(make_field(values, (48, 50), (53, 55))).axes[0]
    assert axes.get_xlim() == (44.5, 59.5)
    assert axes.get_ylim() == (57.5, 42.5)


@pytest.mark.parametrize("count", [1, 5, 13, 40])
def test_layers_share_one_scale_and_no_words_overlap(count):
    values = gaussian_map((20, 30), (10, 15), [[9, 0], [0, 9]])
    fields = [
        make_field(values, (5, 5), (16, 26), layer=f"stages.{n // 10}.blocks.{n % 10}.attention.output")
        for n in range(count)
    ]
    figure = plot_layers(fields)
    figure.draw_without_rendering()
    maps = [axes for axes in figure.axes if axes.images]
    assert len(maps) == count
    assert {(axes.images[0].norm.vmin, axes.images[0].norm.vmax, axes.images[0].cmap.name) for axes in maps} == {
        (0.0, 1.0, "magma")
    }
    assert "power scale (exponent 0.5)" in texts(figure)
    words = [text for axes in maps for text in (axes.title, axes.xaxis.label) if text.get_text()]
    assert len({axes.get_title() for axes in maps}) == count
    boxes = [text.get_window_extent() for text in words]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_units_of_one_layer_are_told_apart():
    fields = EffectiveReceptiveField(torch.nn.Conv2d(3, 4, 3), "").sweep(
        [torch.randn(4, 3, 12, 12)], positions=("center", "corner")
    )
    titles = [axes.get_title() for axes in plot_layers(fields).axes[:2]]
    assert "(5, 5)" in titles[0]
    assert "(0, 0)" in titles[1]


def test_convergence_draws_every_unit_in_order_with_its_standard_error():
    values = gaussian_map((30, 30), (15, 15), [[30, 0], [0, 30]])
    snapshots = [make_field(values, (5, 5), (26, 26), noise=0.3, per=per, layer="a") for per in (20, 5, 10)]
    snapshots += [make_field(values**2, (5, 5), (26, 26), noise=0.3, per=per, layer="b") for per in (5, 20)]
    axes = convergence(snapshots).axes[0]
    first, second = axes.containers
    assert first[0].get_xdata().tolist() == [20, 40, 80]
    assert second[0].get_xdata().tolist() == [20, 80]
    radius = snapshots[0].radius_mass().radius(0.5)
    assert radius - 1 < first[0].get_ydata()[-1] <= radius
    half_bar = np.ptp(first[2][0].get_segments()[-1][:, 1]) / 2
    mass = [other.radius_mass() for other in snapshots[0].leave_one_out()]
    radii = np.array([np.interp(0.5, one.mass, one.radii) for one in mass])
    assert half_bar == pytest.approx(np.sqrt(3 / 4 * ((radii - radii.mean()) ** 2).sum()))
    assert f"({100 * half_bar / first[0].get_ydata()[-1]:.1f} %)" in first.get_label()


def test_figures_leave_no_trace_in_pyplot(field):
    plot(field), plot_layers([field]), convergence([field])
    assert not matplotlib._pylab_helpers.Gcf.figs


def test_figure_is_written_to_a_file(field, tmp_path):
    field.plot().savefig(tmp_path / "erf.png")
    assert (tmp_path / "erf.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", [plot, lambda field, scale: plot_layers([field], scale=scale)], ids=["one", "layers"])
def test_unknown_scale_is_refused(field, draw):
    with pytest.raises(ValueError, match="scale must be one of 'power', 'log', 'linear', got 'cubic'"):
        draw(field, scale="cubic")


@pytest.mark.parametrize("draw", [plot_layers, convergence])
def test_no_maps_are_refused(draw):
    with pytest.raises(ValueError, match="There is no map to draw"):
        draw([])
