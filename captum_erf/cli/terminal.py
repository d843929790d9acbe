"""What the command says, and to whom: results on standard output, all else on standard error."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WIDEST = 120  # letters of a line of text


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

    tqdm.write(f"captum-erf: {message}", file=sys.stderr)


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


def write_any_letter() -> None:
    """Lets a terminal that knows no ``±`` or ``²`` show a question mark instead."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
