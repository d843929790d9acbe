"""The command line: ``captum-erf MODEL``."""

from .main import main

__all__ = ["main"]
