"""Operators: watched as they run, without what ``torch.compile`` needs."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class OperatorMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator of a pass."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here, and skipping the compiler would import all of it: 889 modules, two seconds."""
        return False
