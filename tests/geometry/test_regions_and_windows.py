"""Windows hold the field, start in step with the stride and share the border of the input."""

from hypothesis import given
from hypothesis import strategies as st

from captum_erf import TheoreticalReceptiveField
from captum_erf.geometry.field import AxisBox
from captum_erf.geometry.region import Region
from captum_erf.geometry.windows import field_ends, field_inside, find_window, larger_windows

AXIS = st.tuples(
    st.integers(-40, 90), st.integers(1, 60), st.integers(1, 8), st.integers(1, 90), st.integers(0, 30)
).filter(lambda axis: axis[0] < axis[3] and axis[0] + axis[1] > 0)


def field_of(axes):
    """A field with, axis by axis, lower bound, length, stride, size of the input, and unit."""
    box = tuple(AxisBox(low, low + length, stride) for low, length, stride, _, _ in axes)
    *_, size, unit = zip(*axes, strict=True)
    return TheoreticalReceptiveField.from_box(box, size, tuple(u + 1 for u in unit), unit)


@given(st.lists(AXIS, min_size=1, max_size=3))
def test_a_window_holds_the_field_and_shares_the_border(axes):
    window = find_window(field_of(axes))
    if isinstance(window, str):
        assert window == "the field covers most of the input"
        return
    sides = zip(window.region.offset, window.region.stop, window.unit, axes, strict=True)
    for start, stop, unit, (low, length, step, end, u) in sides:
        high = low + length
        assert start % step == 0
        assert 0 <= start <= max(low, 0) < start + step
        assert min(high, end) <= stop <= end
        assert stop - min(high, end) < step
        assert unit * step + start == u * step
        if low <= 0:
            assert start == 0
        if high >= end:
            assert stop == end


@given(st.lists(AXIS, min_size=1, max_size=2))
def test_larger_windows_grow_and_hold_the_field(axes):
    field = field_of(axes)
    windows = list(larger_windows(field))
    assert len(set(windows)) == len(windows)
    for window in windows:
        inside = field_inside(field, window)
        assert min(inside.offset) >= 0
        assert inside.joined(Region.whole(window.region.shape)) == Region.whole(window.region.shape)
        for end in field_ends(field, window):
            assert 1 in end.shape
            assert inside.joined(end) == inside


def test_ends_are_those_inside_the_input():
    field = field_of([(-3, 8, 1, 40, 1), (10, 6, 1, 40, 12)])
    window = find_window(field)
    assert window.region == Region((0, 10), (5, 6))
    ends = [(end.offset, end.shape) for end in field_ends(field, window)]
    assert ends == [((4, 0), (1, 6)), ((0, 0), (5, 1)), ((0, 5), (5, 1))]
