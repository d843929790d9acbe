"""The command ``captum-erf`` from its arguments to its exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence

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
            if "torch" not in sys.modules:
                say("loading PyTorch")
            from .run import run

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
