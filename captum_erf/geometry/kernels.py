"""Kernels that spread NaN to positions it cannot influence, and how they are kept out of passes that look for NaN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

HALF = (torch.bfloat16, torch.float16)


@contextmanager
def nan_stays_in_place() -> Iterator[None]:
    """
    Only kernels run in which NaN reaches nothing but what its position can influence.

    Winograd and FFT convolutions (cuDNN, NNPACK) mix the positions of a tile. oneDNN's half-precision kernels multiply
    what lies beside a row by zero, which makes zero of a number, but NaN of NaN.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(torch.backends.nnpack.flags(enabled=False))
        stack.enter_context(_PlainHalfPrecision())  # type: ignore[no-untyped-call]
        yield


class _PlainHalfPrecision(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operators on numbers of half precision without oneDNN."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here, and skipping the compiler would import all of it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(isinstance(item, Tensor) and item.dtype in HALF for item in args):
            with _without_onednn():
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


@contextmanager
def _without_onednn() -> Iterator[None]:
    onednn: Any = torch.backends.mkldnn
    before, onednn.enabled = onednn.enabled, False
    try:
        yield
    finally:
        onednn.enabled = before
