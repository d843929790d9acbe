"""A forward pass in which every operation stands for its mean squares: its plain backward pass carries them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from .rules import OTHER_ORDER, RULES, NoRule, Operation, carries


class MeanSquares(TorchFunctionMode):
    """
    Runs each of torch's operations on tensors that require a gradient by its rule.

    Args:
        filters (iterable of Tensor): Fixed weights that nobody draws at random, such as those of a blur.
        caller (Callable): Says which module runs, for the refusal of an operation without a rule.
    """

    def __init__(self, filters: Iterable[Tensor], caller: Callable[[], str]):
        super().__init__()
        self._filters = {id(tensor) for tensor in filters}
        self._caller = caller

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not carries((args, kwargs)):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        rule = RULES.get(name.strip("_")) if func not in OTHER_ORDER else None
        try:
            if rule is None:
                return _known(func(*args, **kwargs))
            result = rule(Operation(func, self._filters), *args, **kwargs)
        except NoRule as detail:
            raise NoRule(
                f"got {name.strip('_')}{detail} in {self._caller()}, for which there is no rule of mean squares; "
                "expected convolutions, linear layers, ReLU-like activations, normalisation, pooling, sums and moves. "
                "Choose a layer before it, or measure the field."
            ) from None
        in_place = kwargs.get("inplace") or (name.endswith("_") and not name.endswith("__"))
        return args[0].copy_(result) if in_place and result is not args[0] else result


def _known(result: Any) -> Any:
    """A result without a gradient, such as a shape; any other would need a rule."""
    if carries(result):
        raise NoRule
    return result
