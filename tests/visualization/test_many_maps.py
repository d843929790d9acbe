"""The figure of many maps: names, insets, numbers."""

import numpy as np
import pytest
import torch
from maps import bar_of, gaussian_map, make_field, maps_of, round_field, texts

from captum_erf import EffectiveReceptiveField
from captum_erf.visualization import plot, plot_layers


def insets(axes):
    return [child for child in axes.child_axes if child.images]


def test_maps_share_one_scale_and_each_is_over_its_own_maximum():
    maps = maps_of(plot_layers([round_field(3), make_field(5 * round_field(6).values, (14, 14), (51, 51))]))
    assert [axes.images[0].get_array().max() for axes in maps] == [1, 1]
    assert len({(axes.images[0].norm.vmin, axes.images[0].norm.vmax, axes.images[0].cmap.name) for axes in maps}) == 1


def test_labels_are_the_titles_and_name_the_curves():
    figure = plot_layers([round_field(3), round_field(6)], labels=["before", "after"])
    assert [axes.get_title() for axes in maps_of(figure)] == ["before", "after"]
    curves = [line.get_label().split(":")[0] for line in figure.axes[-1].lines]
    assert curves == ["before", "after"]


def test_units_of_one_layer_are_told_apart():
    fields = EffectiveReceptiveField(torch.nn.Conv2d(3, 4, 3), "").sweep(
        [torch.randn(4, 3, 12, 12)], positions=("center", "corner")
    )
    titles = [axes.get_title() for axes in maps_of(plot_layers(fields))]
    assert "(5, 5)" in titles[0]
    assert "(0, 0)" in titles[1]


@pytest.mark.parametrize("count", [5, 13])
def test_long_names_lose_their_middle_and_stay_distinct(count):
    names = [f"backbone.encoder.stages.{n}.very.long.path.of.modules.{n}.attention.output.dense" for n in range(count)]
    titles = [axes.get_title() for axes in maps_of(plot_layers([round_field(3, layer=name) for name in names]))]
    assert len(set(titles)) == count
    assert all(len(title) < 40 for title in titles)
    long = ["a" * 80 + "b" * 80, "a" * 80 + "c" + "b" * 80]
    titles = [axes.get_title() for axes in maps_of(plot_layers([round_field(3)] * 2, labels=long))]
    assert len(set(titles)) == 2
    assert all("a…b" in title for title in titles)


def test_a_small_field_is_enlarged_in_a_corner_away_from_it():
    small, large = round_field(1, 100), round_field(12, 100, 40)
    small = make_field(np.roll(small.values, 30, (0, 1)), (77, 77), (84, 84))
    figure = plot_layers([small, large])
    first, second = maps_of(figure)
    assert not insets(second)
    (inset,) = insets(first)
    width = np.ptp(inset.get_xlim())
    assert small.radius_mass().diameter(0.9) < width < 20
    figure.draw_without_rendering()
    here, whole = inset.get_window_extent(), first.get_window_extent()
    assert here.x1 < whole.x0 + 0.5 * whole.width
    assert here.y0 > whole.y0 + 0.5 * whole.height
    assert "Insets" in texts(figure)
    assert "Insets" not in texts(plot_layers([large, large]))


def test_a_short_line_is_enlarged_too():
    line = make_field(gaussian_map((400,), (100,), [[9]]), (92,), (109,))
    figure = plot_layers([line, line])
    (inset,) = figure.axes[0].child_axes
    assert 85 < inset.get_xlim()[0] < 96 < 104 < inset.get_xlim()[1] < 115
    assert inset.lines[0].get_ydata().max() == 1
    assert "box with 90 % of the map" in texts(figure)


def test_labels_may_have_two_lines():
    (first, _) = maps_of(plot_layers([round_field(3)] * 2, labels=["ResNet-50\nrandom", "a" * 99 + "\ntrained"]))
    assert first.get_title() == "ResNet-50\nrandom"


def test_many_maps_are_shown_around_their_fields_and_numbered():
    fields = [round_field(1 + n / 4, 100, 3 + n, layer=f"layer{n}") for n in range(20)]
    figure = plot_layers(fields)
    maps = maps_of(figure)
    for axes, field in zip(maps, fields, strict=True):
        assert np.ptp(axes.get_xlim()) == pytest.approx(1.5 * field.theoretical.size[0])
    assert [axes.texts[0].get_text() for axes in maps] == [str(n) for n in range(1, 21)]
    (depth,) = figure.axes[-1].child_axes
    assert depth.get_ylabel() == "number of the map"
    ticks = depth.get_yticks()
    assert (ticks[0], ticks[-1]) == (1, 20)
    assert len({line.get_color().tobytes() if hasattr(line.get_color(), "tobytes") else line.get_color()
                for line in figure.axes[-1].lines}) == 20  # fmt: skip


@pytest.mark.parametrize(("zoom", "width"), [("field", 15), ("input", 64)])
def test_zoom_is_what_was_asked_for(zoom, width):
    for axes in maps_of(plot_layers([round_field(2, half=2)] * 2, zoom=zoom)):
        assert np.ptp(axes.get_xlim()) == (7.5 if zoom == "field" else width)


def test_one_layer_is_drawn_as_one_map():
    field = round_field(4)
    one, alone = plot_layers([field]), plot(field)
    assert texts(one) == texts(alone)
    assert texts(plot_layers([field], labels=["mine"])).count("mine") == 1


def test_the_colour_bar_stands_at_the_end_of_the_first_row():
    figure = plot_layers([round_field(4)] * 7, width=3.3)
    axes, _ = bar_of(figure)
    assert axes is maps_of(figure)[2]


@pytest.mark.parametrize(
    ("fields", "options", "words"),
    [
        ([], {}, "There is no map to draw; pass the list that sweep returned"),
        ([round_field(3)] * 2, {"labels": ["one"]}, r"labels must name each of the 2 maps, got \['one'\]"),
        ([round_field(3)] * 2, {"labels": "ab"}, "labels must name each of the 2 maps, got 'ab'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(fields, options, words):
    with pytest.raises(ValueError, match=words):
        plot_layers(fields, **options)
