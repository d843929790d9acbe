"""All figures: no words overlap or are clipped in a column or on a page, bars fit their maps, captions stand alone."""

from functools import cache

import numpy as np
import pytest
from maps import (
    COLUMN,
    COMMAND,
    PAGE,
    bar_of,
    flaws,
    gaussian_map,
    make_field,
    maps_of,
    no_figures_in_pyplot,
    pdf_of,
    round_field,
    texts,
)
from matplotlib.figure import Figure

from captum_erf.visualization import convergence, overlay, plot, plot_layers, plot_models

IMAGES = "20 crops of 224 x 224, at random places and scales, of matplotlib's grace_hopper.jpg"
WORDS = {**COMMAND, "images": IMAGES}


def layers(count, **others):
    return [
        round_field(
            2 + n / 3, 96, 4 + 2 * n, noise=0.2, **WORDS, **others, layer=f"stages.{n // 9}.blocks.{n % 9}.conv"
        )
        for n in range(count)
    ]


def networks(rows, columns):
    names = ["resnet50", "convnext_tiny", "swin_transformer_tiny_patch4", "vit_b_16", "repvgg_a0", "densenet121"]
    return {
        f"row {row}": {name: round_field(5 + number, noise=0.1, **WORDS) for number, name in enumerate(names[:columns])}
        for row in range(rows)
    }


LINE = make_field(gaussian_map((400,), (200,), [[400]]), (120,), (281,), noise=0.2, layer="5", **WORDS)
SOLID = make_field(gaussian_map((16, 20, 24), (8, 10, 12), np.eye(3) * 6), (3, 5, 7), (14, 16, 18), **WORDS)
SNAPSHOTS = [round_field(4 + n, noise=0.3, per=per, layer=f"layer{n}", **WORDS) for n in (1, 2) for per in (5, 10, 40)]
FIGURES = {
    "one map": lambda **place: plot(round_field(6, noise=0.1, **WORDS), **place),
    "one map 1-D": lambda **place: plot(LINE, **place),
    "one map 3-D": lambda **place: plot(SOLID, **place),
    "signed": lambda **place: plot(make_field(SOLID.values[8] - 0.1, (3, 5), (14, 18), **WORDS), **place),
    "overlay": lambda **place: overlay(round_field(6, **WORDS), np.eye(64), **place),
    "1 layer": lambda **place: plot_layers(layers(1), **place),
    "2 layers": lambda **place: plot_layers(layers(2), **place),
    "5 layers": lambda **place: plot_layers(layers(5), **place),
    "12 layers": lambda **place: plot_layers(layers(12), **place),
    "20 layers": lambda **place: plot_layers(layers(20), **place),
    "53 layers": lambda **place: plot_layers(layers(53), **place),
    "layers 1-D": lambda **place: plot_layers([LINE] * 3, **place),
    "layers 3-D": lambda **place: plot_layers([SOLID] * 4, **place),
    "models 1 x 1": lambda **place: plot_models(networks(1, 1), **place),
    "models 2 x 4": lambda **place: plot_models(networks(2, 4), **place),
    "models 1 x 6": lambda **place: plot_models(networks(1, 6), **place),
    "convergence": lambda **place: convergence(SNAPSHOTS, **place),
}
BOTH = [(name, width) for name in FIGURES for width in (COLUMN, PAGE) if (name, width) != ("53 layers", COLUMN)]
FLAT = [(name, width) for name, width in BOTH if "1-D" not in name and name != "convergence"]


@cache
def drawn(name, width):
    figure = FIGURES[name](width=width)
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize(("name", "width"), BOTH)
def test_no_words_overlap_or_are_clipped(name, width, monkeypatch):
    figure = drawn(name, width)
    assert figure.get_figwidth() == width
    assert flaws(figure, monkeypatch) == []


@pytest.mark.parametrize(("name", "width"), FLAT)
def test_the_colour_bar_is_as_high_as_the_map_beside_it(name, width):
    figure = drawn(name, width)
    axes, bar = (axes.get_window_extent() for axes in bar_of(figure))
    assert (bar.y0, bar.y1) == pytest.approx((axes.y0, axes.y1), abs=0.5)
    assert 0 < bar.x0 - axes.x1 < 0.1 * axes.width


@pytest.mark.parametrize(("name", "width"), FLAT)
def test_maps_fill_their_places(name, width):
    """Neither blank rows around the maps nor beneath them: a map is as wide as its column."""
    figure = drawn(name, width)
    for axes in maps_of(figure):
        assert axes.get_window_extent().width == pytest.approx(_place(axes).width, rel=0.1)


def _place(axes):
    return axes.get_position(original=True).transformed(axes.figure.transSubfigure)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_was_measured(name):
    said = texts(drawn(name, PAGE))
    for words in ("weights random (seed 0)", "20 samples" if name != "convergence" else "160 samples", IMAGES):
        assert words in said
    assert "y: sum over all channels" in said
    assert "unit" in said


def test_title_and_caption_are_the_users_or_none():
    field = round_field(4)
    figure = plot(field, title="Mine", caption="Beneath.")
    assert (figure.get_suptitle(), figure.get_supxlabel()) == ("Mine", "Beneath.")
    figure = plot(field, title="", caption="")
    assert (figure.get_suptitle(), figure.get_supxlabel()) == ("", "")


@pytest.mark.parametrize("name", ["one map", "5 layers", "models 2 x 4"])
def test_pdf_is_vector_but_for_the_maps(name):
    figure = drawn(name, PAGE)
    images = sum(1 + sum(bool(child.images) for child in axes.child_axes) for axes in maps_of(figure))
    pdf = pdf_of(figure)
    assert pdf.count(b"/Subtype /Image") == images
    assert pdf.count(b"/Type /Font") > 0


@pytest.mark.parametrize("name", ["one map", "5 layers", "models 2 x 4", "overlay", "convergence"])
def test_a_place_of_the_users_keeps_its_size(name):
    mine = Figure(figsize=(9, 6))
    assert FIGURES[name](figure=mine) is mine
    assert tuple(mine.get_size_inches()) == (9, 6)
    page = Figure(figsize=(12, 6))
    left, right = page.subfigures(1, 2)
    assert FIGURES[name](figure=right) is page
    assert not left.axes and right.subfigs


def test_a_figure_shows_itself_in_a_notebook_and_leaves_no_trace_in_pyplot():
    with no_figures_in_pyplot():
        for name in ("one map", "2 layers", "models 1 x 1", "overlay", "convergence"):
            assert FIGURES[name]()._repr_png_().startswith(b"\x89PNG")


FIELD = round_field(4)
EVERY = {
    "plot": plot,
    "plot_layers": lambda field, **options: plot_layers([field, field], **options),
    "plot_models": lambda field, **options: plot_models([[field]], **options),
    "overlay": lambda field, **options: overlay(field, np.eye(64), **options),
}


@pytest.mark.parametrize("draw", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": "cubic"}, "scale must be one of 'power', 'log', 'linear', or the exponent .* got 'cubic'"),
        ({"scale": -0.5}, "or the exponent of a power scale such as 0.2, got -0.5"),
        ({"scale": True}, "got True"),
        ({"cmap": "nonesuch"}, "cmap must be the name of a Matplotlib colour map or a Colormap, got 'nonesuch'"),
        ({"zoom": "unit"}, "zoom must be one of 'field', 'input', got 'unit'"),
        ({"width": 330}, "width must be in inches, such as 3.3 .* got 330"),
        ({"width": 5, "figure": Figure()}, "leave out one of figure and width"),
    ],
)
def test_options_that_make_no_sense_are_refused(draw, options, words):
    with pytest.raises(ValueError, match=words):
        draw(FIELD, **options)


@pytest.mark.parametrize("draw", [plot, EVERY["overlay"]], ids=["plot", "overlay"])
def test_axes_come_alone(draw):
    axes = Figure().subplots()
    with pytest.raises(ValueError, match="ax brings its own figure and width"):
        draw(FIELD, ax=axes, width=3.3)
    with pytest.raises(TypeError, match="ax must be Matplotlib Axes, got Figure"):
        draw(FIELD, ax=Figure())


def test_a_figure_must_be_one():
    with pytest.raises(TypeError, match="figure must be a Matplotlib Figure or SubFigure, got str"):
        plot(FIELD, figure="erf.png")
