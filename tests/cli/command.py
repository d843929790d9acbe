"""A short run of the command, and what it has printed and saved."""

import re

from captum_erf import ERFMap

NET = ["cli_models:net", "--size", "16"]


def table(printed):
    """Rows of the printed table by layer; ``±`` keeps a number and its error together."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines() if "%" in line or " x " in line]
    return {line[0]: line[1:] for line in lines if len(line) == 11}


def saved(place):
    return {file.name: ERFMap.load(file) for file in sorted(place.glob("*.npz"))}
