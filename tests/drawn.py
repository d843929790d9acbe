"""Maps and centres that hypothesis draws for tests of summaries."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
DIGITS = st.integers(0, 9).map(float)
HALVES = st.integers(-6, 16).map(lambda number: number / 2)


@st.composite
def maps(draw, elements=DIGITS):
    values = draw(arrays(np.float64, draw(SHAPES), elements=elements))
    values.flat[draw(st.integers(0, values.size - 1))] += 1
    return values


@st.composite
def maps_and_centers(draw, coordinate):
    values = draw(maps())
    return values, tuple(draw(coordinate) for _ in range(values.ndim))
