"""The course of a size with its error."""

import numpy as np
import pytest
from maps import COMMAND, gaussian_map, make_field, round_field, texts
from matplotlib.figure import Figure

from captum_erf.text import number
from captum_erf.visualization import convergence

VALUES = gaussian_map((30, 30), (15, 15), [[30, 0], [0, 30]])
SNAPSHOTS = [make_field(VALUES, (5, 5), (26, 26), noise=0.3, per=per, layer="a") for per in (20, 5, 10)]
SNAPSHOTS += [make_field(VALUES**2, (5, 5), (26, 26), noise=0.3, per=per, layer="b") for per in (5, 20)]


def test_every_unit_is_drawn_in_order_with_its_standard_error():
    first, second = convergence(SNAPSHOTS).axes
    (course,), (other,) = first.containers, second.containers
    assert course[0].get_xdata().tolist() == [20, 40, 80]
    assert other[0].get_xdata().tolist() == [20, 80]
    last = course[0].get_ydata()[-1]
    assert last == pytest.approx(SNAPSHOTS[0].radius_mass().diameter(0.5), abs=2)
    half_bar = np.ptp(course[2][0].get_segments()[-1][:, 1]) / 2
    assert f"a: {number(last, half_bar)} px ({100 * half_bar / last:.1f} %)" == first.get_title()
    (band,) = first.patches
    assert (band.get_y(), band.get_height()) == pytest.approx((last - half_bar, 2 * half_bar))


def test_axis_of_the_samples_is_what_was_asked_for():
    assert convergence(SNAPSHOTS).axes[0].get_xscale() == "linear"
    assert convergence(SNAPSHOTS, scale="log").axes[0].get_xscale() == "log"
    wide = [round_field(4, per=per) for per in (1, 100)]
    assert convergence(wide).axes[0].get_xscale() == "log"


def test_in_axes_of_the_users_all_units_stand_together():
    axes = Figure().subplots()
    convergence(SNAPSHOTS, ax=axes, title="mine")
    assert axes.get_title() == "mine"
    assert [text.get_text()[0] for text in axes.legend().get_texts()] == ["a", "b"]


def test_without_errors_there_is_no_band():
    figure = convergence([round_field(4, groups=1, **COMMAND)])
    assert not figure.axes[0].patches
    assert "resnet18" in texts(figure)


@pytest.mark.parametrize(
    ("fields", "options", "words"),
    [
        ([], {}, "There is no map to draw; pass the maps that compute"),
        (SNAPSHOTS, {"scale": "power"}, "scale must be one of 'linear', 'log', or None, got 'power'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(fields, options, words):
    with pytest.raises(ValueError, match=words):
        convergence(fields, **options)
