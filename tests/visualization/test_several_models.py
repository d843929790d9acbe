"""The figure of several models: rows and columns, sizes beneath, one scale or each its own."""

import numpy as np
import pytest
from maps import COLUMN, COMMAND, bar_of, make_field, maps_of, round_field, texts

from captum_erf.text import number
from captum_erf.visualization import plot_models

ROWS = {
    "random": {"ResNet": round_field(3, noise=0.2), "ViT": round_field(6, noise=0.2)},
    "trained": {"ResNet": round_field(4, noise=0.2), "ViT": round_field(9, noise=0.2)},
}


def test_networks_stand_above_their_columns_and_weights_beside_their_rows():
    maps = maps_of(plot_models(ROWS))
    assert [axes.get_title() for axes in maps] == ["ResNet", "ViT", "", ""]
    assert [axes.get_ylabel() for axes in maps] == ["random", "", "trained", ""]


def test_sizes_with_their_errors_stand_beneath():
    for axes, field in zip(maps_of(plot_models(ROWS)), [f for row in ROWS.values() for f in row.values()], strict=True):
        for line, share in zip(axes.get_xlabel().splitlines(), (0.5, 0.9), strict=True):
            value, error = field.estimate(lambda field, share=share: field.radius_mass().diameter(share))
            assert line == f"{100 * share:.0f} %: {number(value, error)} px"


def test_each_map_is_over_its_own_maximum_or_all_over_the_densest():
    own, shared = maps_of(plot_models(ROWS)), maps_of(plot_models(ROWS, shared=True))
    assert [axes.images[0].get_array().max() for axes in own] == [1] * 4
    peaks = [field.values.max() / field.values.sum() for row in ROWS.values() for field in row.values()]
    assert [axes.images[0].get_array().max() for axes in shared] == pytest.approx(np.array(peaks) / max(peaks))
    assert "Each map over its own maximum" in texts(plot_models(ROWS))
    assert "shares of their own sums, over the largest of all" in texts(plot_models(ROWS, shared=True))


def test_lists_take_their_names_from_the_recipes():
    field = round_field(3, **COMMAND)
    figure = plot_models([[field, round_field(3, model="torchvision.models.vgg.VGG", weights=COMMAND["weights"])]])
    assert [axes.get_title() for axes in maps_of(figure)] == ["resnet18", "VGG"]
    assert maps_of(figure)[0].get_ylabel() == "random (seed 0)"
    twice = plot_models([field, round_field(3, layer="deep", **COMMAND)])
    assert [axes.get_title() for axes in maps_of(twice)] == ["resnet18 layer", "resnet18 deep"]


def test_rows_may_have_maps_of_their_own():
    figure = plot_models({"a": {"one": round_field(3)}, "b": {"two": round_field(3), "three": round_field(4)}})
    assert [axes.get_title() for axes in maps_of(figure)] == ["one", "two", "three"]
    bar_of(figure)


def test_rows_too_long_for_the_width_go_on_further_down():
    rows = {row: {f"net{n}": round_field(3) for n in range(6)} for row in ("random", "trained")}
    figure = plot_models(rows, width=COLUMN)
    maps = maps_of(figure)
    figure.draw_without_rendering()
    tops = [round(axes.get_window_extent().y1) for axes in maps]
    assert len(set(tops)) == 4
    assert [axes.get_title() for axes in maps if axes.get_title()] == [f"net{n}" for n in range(6)]
    assert [axes.get_ylabel() for axes in maps if axes.get_ylabel()] == ["random", "trained"] * 2


def test_zoom_shows_one_window_for_all_that_holds_every_theoretical_field():
    near = maps_of(plot_models({"": {"a": round_field(2, half=6), "b": round_field(3, half=10)}}, zoom="field"))
    assert {axes.get_xlim() for axes in near} == {(32 - 10.5 - 5.25, 32 + 10.5 + 5.25)}


def test_theoretical_field_is_in_the_legend_where_it_is_to_be_seen():
    assert "theoretical field (TRF)" in texts(plot_models([[round_field(3)]]))
    assert "theoretical field (TRF)" not in texts(plot_models([[round_field(20, 64, 60)]]))


@pytest.mark.parametrize(
    ("rows", "kind", "words"),
    [
        ({}, ValueError, "There is no map to draw"),
        ({"random": {}}, ValueError, "There is no map to draw"),
        (round_field(3), TypeError, "rows must be a dict or list of rows of maps, got ERFMap"),
        ("resnet18", TypeError, "rows must be a dict or list of rows of maps, got str"),
        ({"random": {"a": 3}}, TypeError, r"rows must hold maps \(ERFMap\), got int"),
        ([[round_field(3)], "ab"], TypeError, "a row must be a dict of labelled maps or a list of maps, got str"),
    ],
)
def test_what_cannot_be_drawn_is_refused(rows, kind, words):
    with pytest.raises(kind, match=words):
        plot_models(rows)


def test_a_dict_of_maps_is_one_row():
    figure = plot_models({"a": round_field(3), "b": make_field(round_field(3).values, (20, 20), (45, 45))})
    assert [axes.get_title() for axes in maps_of(figure)] == ["a", "b"]
