"""Maps with known shapes for figures, and what is to be read on a figure."""

import contextlib
import io
import itertools

import matplotlib
import numpy as np
from matplotlib.text import Text

from captum_erf import ERFMap
from captum_erf.geometry.field import TheoreticalReceptiveField
from captum_erf.geometry.region import Region
from captum_erf.result.sums import Groups

COLUMN, PAGE = 3.3, 7.0  # widths in inches
OBLIQUE = [[60.0, 40.0], [40.0, 90.0]]
COMMAND = {"model": "resnet18", "weights": "random (seed 0), not those of the trained network"}


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


def make_field(values, lower, upper, *, layer="layer", groups=4, noise=0.0, theoretical="box", per=5, **recipe):
    """An ERFMap whose groups scatter around the values."""
    generator = np.random.default_rng(len(layer) + per)
    sums = np.stack([per * values * (1 + noise * generator.standard_normal(values.shape)) for _ in range(groups)])
    counts = np.full(groups, per)
    trf = trf_around(lower, upper, values.shape) if theoretical == "box" else theoretical
    recipe = {"magnitude": "abs", "channel": None} | recipe
    squares, nothing = sums.reshape(groups, -1).sum(1) ** 2 / per, 0 * counts
    whole = Region.whole(values.shape)
    return ERFMap(Groups(sums, counts, nothing, squares, nothing, whole, values.shape), layer, trf, recipe)


def round_field(sigma, size=64, half=None, **others):
    """A round Gaussian in the middle of a square input, with a theoretical field of ``2 * half + 1`` pixels."""
    middle, half = size // 2, half or 3 * sigma
    values = gaussian_map((size, size), (middle, middle), np.eye(2) * sigma**2)
    lower, upper = middle - half, middle + half + 1
    inside = np.zeros_like(values)
    span = slice(max(lower, 0), upper)
    inside[span, span] = values[span, span]
    return make_field(inside, (lower, lower), (upper, upper), **others)


def texts(figure):
    """All that a figure says, without the ends of its lines."""
    found = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return " ".join(text.get_text() for text in found).replace("\n", " ")


def drawn_words(figure, monkeypatch):
    """Every text that is really drawn, with the box in pixels that it takes."""
    words, draw = [], Text.draw

    def note(text, renderer):
        words.append(text)
        draw(text, renderer)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", note)
        figure.draw_without_rendering()
    return {text: text.get_window_extent() for text in words if text.get_visible() and text.get_text().strip()}


def flaws(figure, monkeypatch):
    """Texts that run into each other or over the edge of the figure."""
    boxes, edge = drawn_words(figure, monkeypatch), figure.bbox.padded(0.5)
    clipped = [
        text.get_text()
        for text, box in boxes.items()
        if box.x0 < edge.x0 or box.y0 < edge.y0 or box.x1 > edge.x1 or box.y1 > edge.y1
    ]
    pairs = itertools.combinations(boxes.items(), 2)
    return clipped + [(one.get_text(), two.get_text()) for (one, a), (two, b) in pairs if a.overlaps(b)]


def maps_of(figure):
    return [axes for axes in figure.axes if axes.images]


def bar_of(figure):
    """The map that has the colour bar beside it, and the bar."""
    for axes in maps_of(figure):
        for child in axes.child_axes:
            if not child.images:
                return axes, child
    raise AssertionError("there is no colour bar")


def pdf_of(figure):
    with matplotlib.rc_context({"pdf.compression": 0}):
        figure.savefig(file := io.BytesIO(), format="pdf")
    return file.getvalue()


@contextlib.contextmanager
def no_figures_in_pyplot():
    from matplotlib._pylab_helpers import Gcf

    before = list(Gcf.figs)
    yield
    assert list(Gcf.figs) == before
