"""Operators: watched as they run, without what ``torch.compile`` needs."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class OperatorMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator of a pass."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here, and skipping the compiler would import all of it: 889 modules, two seconds."""
        return False


class Drawing(OperatorMode):  # type: ignore[no-untyped-call]
    """Notices operators that draw random numbers; attention that could drop out, but does not, draws none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        if self.seen or torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **keywords)
        before = _generator_states()
        result = func(*args, **keywords)
        drawn = not all(map(torch.equal, before, _generator_states()))
        self.seen = drawn or keywords.get("generator") is not None
        return result


def _generator_states() -> list[torch.Tensor]:
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return [torch.get_rng_state(), *on_gpus]
