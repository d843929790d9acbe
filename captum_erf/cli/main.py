"""The command ``captum-erf`` from its arguments to its exit status."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from .options import UsageError, read
from .terminal import say, warnings_said, write_any_letter

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    r"""
    Runs the command.

    Args:
        arguments (Sequence[str], optional): Its arguments; None takes the process's own.

    Returns:
        *int*: 0, 1 after a failure, 2 for arguments that make no sense, 130 when interrupted.
    """
    try:
        options = read(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as leaving:
        return int(leaving.code or DONE)
    write_any_letter()
    try:
        with warnings_said():
            run = _load()
            run(options)
    except UsageError as error:
        say(f"error: {error}")
        return MISUSED
    except (OSError, ImportError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        say(f"error: {str(error) or type(error).__name__}")
        return FAILED
    except KeyboardInterrupt:
        print(file=sys.stderr)  # ends a bar that was being drawn
        say("interrupted" + (f"; --resume {options.resume} goes on" if options.resume else ""))
        return INTERRUPTED
    return DONE


def _load() -> Callable[[argparse.Namespace], None]:
    """What runs the command, and PyTorch with it, whose import may swallow an interrupt or take it for a fault."""
    if "torch" in sys.modules or threading.current_thread() is not threading.main_thread():
        from .run import run

        return run
    say("loading PyTorch")
    before = signal.signal(signal.SIGINT, _leave)
    try:
        from .run import run
    finally:
        signal.signal(signal.SIGINT, before)
    return run


def _leave(*_: Any) -> None:
    """Ends the process on the spot: nothing has been measured or written."""
    print("captum-erf: interrupted", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)
