"""What the studies share: the command line, tables, figures, and chains of convolutions with random weights."""

from __future__ import annotations

import argparse
import csv
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import nn

from captum_erf import EffectiveReceptiveField, ERFMap, protocols, theory

COLOURS = ("#3b528b", "#d1495b", "#2a9d8f", "#e09f3e", "0.35")
MARKERS = ("o", "s", "^", "D", "v")
TICKS = {1: (0, 0.25, 0.5, 0.75, 1), 0.5: (0, 0.1, 0.25, 0.5, 1)}  # of colour bars, by the scale's power

# %% The command line and tables


def arguments(doc: str, name: str, **more: str) -> argparse.Namespace:
    """The script's options: --output, --quick, and paths with their help; makes the output folder."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output") / name, help="folder for the table and figure")
    parser.add_argument("--quick", action="store_true", help="a small version, in seconds")
    for option, text in more.items():
        parser.add_argument(f"--{option}", type=Path, help=text)
    options = parser.parse_args([] if "ipykernel" in sys.modules else None)
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    return options


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Prints the rows as a table and writes them as CSV."""
    columns = list(rows[0])
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    cells = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def measured(field: ERFMap, *keys: str) -> dict[str, Any]:
    """Columns of a table: numbers of the field's summary and their standard errors."""
    summary = field.summary()
    return {column: summary[column] for key in keys for column in (key, f"{key}_se")}


def with_error(name: str, estimate: tuple[float | None, float | None]) -> dict[str, float | None]:
    """Two columns of a table: a number and its standard error, as ``ERFMap.estimate`` gives them."""
    return {name: estimate[0], f"{name}_se": estimate[1]}


# %% Figures


def new_figure(width: float, height: float, rows: int, columns: int, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure and its axes as an array of (rows, columns), apart from pyplot's state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def draw_map(axes: Axes, values: np.ndarray, title: str = "", note: str = "", power: float = 1) -> None:
    """A map over its maximum, linear or on a power scale, with a title above and a note below."""
    axes.imshow(values / values.max(), cmap="magma", norm=PowerNorm(power, 0, 1), interpolation="nearest")
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel(note, fontsize="small")
    axes.set(xticks=[], yticks=[])


def colour_bar(axes: Axes, power: float = 1) -> None:
    """The colours of :func:`draw_map`, beside a map and as high as it."""
    place = axes.inset_axes((1.05, 0, 0.06, 1))
    axes.figure.colorbar(ScalarMappable(PowerNorm(power, 0, 1), "magma"), cax=place, ticks=TICKS[power])
    place.tick_params(labelsize="small")


def draw_curve(
    axes: Axes, across: Sequence[float], rows: Sequence[Mapping[str, Any]], column: str, **look: Any
) -> None:
    """A column of a table with bars of one standard error."""
    errors = [row[f"{column}_se"] or 0.0 for row in rows]
    axes.errorbar(across, [row[column] for row in rows], errors, markersize=4, capsize=2.5, lw=1.2, **look)


def save_figure(figure: Figure, path: Path, caption: str) -> None:
    """Writes the figure with its caption underneath."""
    figure.supxlabel(textwrap.fill(caption, int(figure.get_figwidth() * 15)), fontsize="small", x=0.01, ha="left")
    figure.savefig(path, dpi=150)
    print(f"Wrote {path}: {caption}\n")


# %% Random-weight networks


def convolutions(
    depth: int,
    activation: type[nn.Module] | None = None,
    *,
    weights: str = "random",
    width: int = 8,
    strides: Mapping[int, int] | None = None,
    dilations: Mapping[int, int] | None = None,
    dropout: float = 0.0,
) -> nn.Sequential:
    """
    A chain of 3 x 3 convolutions without bias or padding, from one channel to ``width`` channels, on layer numbers
    from 1. ``"random"`` weights are normal with He et al.'s variance, 2 / fan-in before a ReLU and 1 / fan-in else;
    ``"uniform"`` ones are all 1 / 9, of one channel.
    """
    width = 1 if weights == "uniform" else width
    layers: list[nn.Module] = []
    for number in range(1, depth + 1):
        stride, dilation = (strides or {}).get(number, 1), (dilations or {}).get(number, 1)
        layer = nn.Conv2d(1 if number == 1 else width, width, 3, stride, dilation=dilation, bias=False)
        if weights == "uniform":
            nn.init.constant_(layer.weight, 1 / 9)
        else:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if activation is nn.ReLU else "linear")
        layers += [layer] + ([activation()] if activation else []) + ([nn.Dropout(dropout)] if dropout else [])
    return nn.Sequential(*layers)


def field_of_draws(make_model: Callable[[], nn.Sequential], draws: int, **options: Any) -> ERFMap:
    """
    Field of the last layer's one unit, whose theoretical field is the whole input: the mean over draws of weights and
    of normal random inputs, one input to each network. Standard errors are over the draws.
    """
    chain = [
        (layer.kernel_size[0], layer.stride[0], layer.dilation[0])
        for layer in make_model().modules()
        if isinstance(layer, nn.Conv2d)
    ]
    size = theory.theoretical_size(chain)
    inputs = torch.randn(draws, 1, 1, size, size)

    def make_erf() -> EffectiveReceptiveField:
        model = make_model()
        return EffectiveReceptiveField(model, model[-1])

    return protocols.LUO2016.aggregate(make_erf, inputs, **options)


def beta_of(field: ERFMap) -> float:
    """Exponent of the generalised Gaussian that fits best: 2 for a Gaussian, 1 for a Laplace shape, more for a box."""
    return next(shape.beta for shape in field.compare_shapes() if shape.beta is not None)
