"""The command line: ``captum-erf MODEL``. Torch is imported once the options are known to make sense."""

from .main import main

__all__ = ["main"]
