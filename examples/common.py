"""What compare_models.py needs beside the package."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import get_model

from captum_erf import ERFMap


def arguments(doc: str, name: str, **more: str) -> argparse.Namespace:
    """The script's options: --output, --quick, and further ones with their help; makes the output folder."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output") / name, help="folder for the table and figure")
    parser.add_argument("--quick", action="store_true", help="a small version, in seconds")
    for option, text in more.items():
        parser.add_argument(f"--{option}", type=Path, help=text)
    options = parser.parse_args()
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


def with_error(name: str, estimate: tuple[float | None, float | None]) -> dict[str, float | None]:
    """Two columns of a table: a number and its standard error, as ``ERFMap.estimate`` gives them."""
    return {name: estimate[0], f"{name}_se": estimate[1]}


def diameter(share: float) -> Callable[[ERFMap], float]:
    """The statistic of a field that is the side of the smallest box with this share of the map."""
    return lambda field: field.radius_mass().diameter(share)


def torchvision_network(name: str, weights: Path | None) -> nn.Module:
    """A network in evaluation mode, its weights random with a fixed seed, or torchvision's by their name."""
    torch.manual_seed(0)
    return get_model(name, weights=str(weights) if weights else None).eval()
