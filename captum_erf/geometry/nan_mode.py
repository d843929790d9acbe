"""Passes in which NaN is safe: it reaches what its position can influence and nothing else, and does no harm.

Some kernels spread NaN to positions it cannot influence, some operators die of it, and some loops that wait for
convergence never end. Every pass that looks where NaN goes runs here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..network.operators import OperatorMode
from ..network.precision import without_cudnn

HALF = (torch.bfloat16, torch.float16)
PLACES = {  # operators that turn values into places, and the first of their arguments that does not hold features
    "torchvision::deform_conv2d": 1,
    "torchvision::roi_align": 1,
    "torchvision::roi_pool": 1,
    "torchvision::ps_roi_align": 1,
    "torchvision::ps_roi_pool": 1,
    "torchvision::nms": 0,
}
CASTS = ("aten::_to_copy", "aten::copy_")


class NaNRefused(BaseException):
    """The pass was stopped before NaN did harm; no ``except Exception`` of the network's own may swallow it."""


class TooManyOperators(NaNRefused):
    """The pass ran more operators than it was allowed to."""


class NaNMode(OperatorMode):  # type: ignore[no-untyped-call]
    """
    Watches every operator: refuses those that turn NaN into a place, and stops after ``limit`` of them.

    ``folds`` tells whether axes of a sample were laid out as one, such as rows one after the other: what works along
    that one then sees neighbours that lie far apart in the image.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit, self.count, self.folds = limit, 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.count += 1
        if self.limit is not None and self.count > self.limit:
            raise TooManyOperators(f"a pass with NaN does not end: it had run {self.limit} operators")
        name = func._schema.name
        if name in PLACES and any(map(_has_nan, args[PLACES[name] :])):
            raise NaNRefused(f"{name.replace('::', '.')} turns values into places, and NaN is none")
        if name in CASTS and _makes_whole_numbers(args, kwargs):
            raise NaNRefused("the network turns values into whole numbers, and NaN is none")
        with (
            _without_onednn()
            if any(isinstance(item, Tensor) and item.dtype in HALF for item in args)
            else nullcontext()
        ):
            result = func(*args, **kwargs)
        self.folds = self.folds or _is_fold(args, result)
        return result


@contextmanager
def safe_nan(limit: int | None = None) -> Iterator[NaNMode]:
    """
    Only kernels and operators run in which NaN reaches nothing but what its position can influence.

    Winograd and FFT convolutions (cuDNN, NNPACK) mix the positions of a tile. oneDNN's half-precision kernels multiply
    what lies beside a row by zero, which makes zero of a number, but NaN of NaN.

    Raises:
        NaNRefused: An operator would turn NaN into a place, or more than ``limit`` operators run.

    Examples::

        >>> with safe_nan() as mode:
        ...     values = torch.tensor([1.0, float("nan")]) + 1
        >>> mode.count > 0, values
        (True, tensor([2., nan]))
        >>> with safe_nan():
        ...     values.long()
        Traceback (most recent call last):
        ...
        captum_erf.geometry.nan_mode.NaNRefused: the network turns values into whole numbers, and NaN is none
    """
    with ExitStack() as stack:
        stack.enter_context(without_cudnn())
        stack.enter_context(torch.backends.nnpack.flags(enabled=False))
        yield stack.enter_context(NaNMode(limit))


def _is_fold(args: Any, result: Any) -> bool:
    """Whether a sample's numbers come back with fewer axes."""
    given = args[0] if args else None
    if not (isinstance(given, Tensor) and isinstance(result, Tensor) and given.numel() == result.numel()):
        return False
    before, after = given.shape, result.shape
    return len(after) < len(before) and before[:1] == after[:1] and _long(after) < _long(before)


def _long(shape: torch.Size) -> int:
    """How many axes of a sample have a length."""
    return sum(length > 1 for length in shape[1:])


def _has_nan(item: Any) -> bool:
    return isinstance(item, Tensor) and item.is_floating_point() and bool(item.isnan().any())


def _makes_whole_numbers(args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a cast, ``(source, dtype=)`` or ``(target, source)``, makes integers of NaN."""
    target = kwargs.get("dtype") or (args[0].dtype if len(args) > 1 and isinstance(args[1], Tensor) else None)
    is_whole = target is not None and not (target.is_floating_point or target.is_complex or target is torch.bool)
    return is_whole and _has_nan(args[1] if len(args) > 1 else args[0])


@contextmanager
def _without_onednn() -> Iterator[None]:
    onednn: Any = torch.backends.mkldnn
    before, onednn.enabled = onednn.enabled, False
    try:
        yield
    finally:
        onednn.enabled = before
