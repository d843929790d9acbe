"""Precision: which kernels run where numbers are compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


@contextmanager
def held(owner: Any, name: str, value: Any) -> Iterator[None]:
    """
    One of torch's switches in another position.

    ``torch.backends.cudnn.flags`` would read them all, and fails where single precision was asked for in the newer way.
    """
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Convolutions run by torch's own kernels, which do not mix the positions of a tile."""
    with held(torch.backends.cudnn, "enabled", False):
        yield


@contextmanager
def full_precision(*, is_quick: bool = False) -> Iterator[None]:
    """
    On a GPU, products of single-precision numbers are not rounded to TF32, as those of convolutions usually are.

    So parts and whole are compared: of TF32's numbers those of other kernels are others. cuDNN's quick kernels, such as
    Winograd's, differ by a little more than torch's own.
    """
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    with ExitStack() as stack:
        if not is_quick:
            stack.enter_context(without_cudnn())
        if hasattr(matmul, "fp32_precision"):
            stack.enter_context(held(matmul, "fp32_precision", "ieee"))
            stack.enter_context(held(cudnn.conv, "fp32_precision", "ieee"))
        else:
            stack.enter_context(held(cudnn, "allow_tf32", False))
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        yield
