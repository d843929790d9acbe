"""What the command says, and to whom: results on standard output, all else on standard error."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WIDEST = 120  # letters of a line of text
ARGUMENT = re.compile(
    r"""\b(?P<name>channel|layout|call|normalize|window)=(?:captum_erf\.)?(?P<quote>"?)(?!lambda)(?P<value>\w+)(?P=quote)"""
)
OPTIONS = {"normalize=True": "--normalize", "window=False": "--no-window", "channel=None": "no --channel"}


def tell(text: str) -> None:
    """Prints a part of the result; a reader that has left (``| head``) costs nobody the files."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def say(message: str) -> None:
    """Prints a line about the run, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(f"captum-erf: {in_options(message)}", file=sys.stderr)


def in_options(message: str) -> str:
    r"""
    A message of the package, with the command's options in place of Python's arguments.

    Examples::

        >>> in_options('Pass channel="random", or normalize=True, or layout=captum_erf.channels_last, or call=0.')
        'Pass --channel random, or --normalize, or --layout channels_last, or --call 0.'
    """
    return ARGUMENT.sub(lambda found: OPTIONS.get(found[0], f"--{found['name']} {found['value']}"), message)


@contextmanager
def warnings_said() -> Iterator[None]:
    """The users' warnings as lines of their own; those to developers are left out."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def wrapped(paragraph: str) -> str:
    """A paragraph in lines of the terminal's width."""
    return textwrap.fill(paragraph, min(WIDEST, shutil.get_terminal_size((WIDEST, 0)).columns), break_long_words=False)


def folded(table: str, width: int) -> str:
    r"""
    A table as several beneath each other, each with the first column, where it is wider than the terminal.

    Examples::

        >>> print(folded("layer  grid  TRF\n4       7x7   43", 12))
        layer  grid
        4       7x7
        <BLANKLINE>
        layer  TRF
        4       43
    """
    lines = table.split("\n")
    longest = max(map(len, lines))
    padded = [line.ljust(longest) for line in lines]
    gaps = [place for place in range(1, longest) if all(line[place - 1 : place + 1] == "  " for line in padded)]
    ends = [place for place in gaps if place + 1 not in gaps] + [longest]
    starts = [0, *(end + 1 for end in ends[:-1])]
    spans = list(zip(starts, ends, strict=True))
    blocks: list[list[tuple[int, int]]] = [[]]
    for span in spans[1:]:
        taken = sum(end - start + 1 for start, end in [spans[0], *blocks[-1], span])
        if blocks[-1] and taken > width:
            blocks.append([])
        blocks[-1].append(span)
    return "\n\n".join(
        "\n".join(" ".join(line[start:end] for start, end in [spans[0], *block]).rstrip() for line in padded)
        for block in blocks
    )


def fitted(table: str) -> str:
    """A table as wide as the terminal, or as it is where it goes into a file."""
    return folded(table, shutil.get_terminal_size().columns) if sys.stdout.isatty() else table


def write_any_letter() -> None:
    """Lets a terminal that knows no ``±`` or ``²`` show a question mark instead."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
