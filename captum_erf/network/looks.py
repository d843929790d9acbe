"""Looks: what one pass over one sample, seen to its end, shows of a network before anything is measured."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .network import Network
from .operators import Drawing
from .recorder import Recorder

DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)


class Unseen(TorchFunctionMode):
    """Notices what behaves as in training although every module in sight is in evaluation mode, in this thread alone.

    It is part of a module that the forward function does not show, or a function called with ``training=True``.
    ``normalises_samples`` tells whether samples are normalised by their own statistics.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, None] = {}
        self.normalises_samples = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        self.normalises_samples |= func in (F.instance_norm, torch.instance_norm)
        drops = func in DROPOUTS and given.get("p", 0.5) > 0
        updates = func is F.batch_norm and args[1] is not None
        if (drops or updates) and given.get("training", drops):
            self.names[func.__name__] = None
        return func(*args, **given)


class Look:
    """
    A pass that is looked at; to its end, unless it is known how often the layers run.

    Attributes:
        recorder (Recorder): What the layers have handed over.
        calls (list[int]): How often each layer runs.
        unseen (Unseen): What behaved as in training.
        draws (bool): Whether random numbers were drawn.
    """

    def __init__(self, network: Network, calls: list[int] | None = None) -> None:
        self.recorder = Recorder(network, to_the_end=calls is None)
        self.unseen = Unseen()
        self.draws = False
        self._known_calls = calls

    @property
    def calls(self) -> list[int]:
        return self.recorder.calls if self._known_calls is None else self._known_calls

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Notices what the pass inside does, beside what the recorder is for."""
        before, drawing = _random_states(), Drawing()
        try:
            with self.unseen, drawing:
                yield
        finally:
            self.draws = drawing.seen or _random_states() != before


def _random_states() -> tuple[bytes | str, ...]:
    """Where the generators of NumPy and Python stand."""
    numpys: Any = np.random.get_state()  # noqa: NPY002
    return numpys[1].tobytes(), repr((numpys[2], random.getstate()))
