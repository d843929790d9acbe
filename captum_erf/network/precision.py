"""Precision: which kernels run where numbers are compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def without_cudnn() -> Iterator[None]:
    """
    Convolutions run by torch's own kernels, which neither mix the positions of a tile nor round to TF32.

    ``torch.backends.cudnn.flags`` would read all of cuDNN's switches, and fails where the precision of convolutions was
    asked for in the newer way.
    """
    before = torch._C._get_cudnn_enabled()
    torch._C._set_cudnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_cudnn_enabled(before)


@contextmanager
def full_precision() -> Iterator[None]:
    """
    On a GPU, products of single-precision numbers are not rounded to TF32, as those of convolutions usually are.

    So parts and whole are compared: of TF32's numbers those of other kernels are others.
    """
    with without_cudnn(), _exact_products():
        yield


@contextmanager
def _exact_products() -> Iterator[None]:
    matmul: Any = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):
        before = matmul.fp32_precision
        if before != "tf32":
            yield
            return
        matmul.fp32_precision = "ieee"
        try:
            yield
        finally:
            matmul.fp32_precision = before
    else:
        asked = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(asked)
