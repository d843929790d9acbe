"""A measurement: which units of which network are looked at, and all that their sums depend on, but the data."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypedDict

import torch
from torch import Tensor

from ..network.batch import Batch, read_batch
from ..network.guards import denormals_flushed, gradients_enabled, seeded, set_up, unchanged
from ..network.looks import Look
from ..network.network import Network
from ..network.state import Structure
from ..network.units import (
    Channel,
    NeuronSelector,
    Positions,
    check_positions,
    make_reader,
)
from .memo import Memo
from .sample_maps import Magnitude, check_magnitude


class Keywords(TypedDict, total=False):
    """The keywords that ``aggregate``, ``sweep`` and ``accumulator`` share, as :class:`Measurement` has them."""

    channel: Channel
    neuron_selector: NeuronSelector | None
    magnitude: Magnitude
    normalize: bool
    additional_forward_args: Any
    get_inputs: Callable[[Any], Any] | None
    get_groups: Callable[[Any], Iterable[Hashable]] | None
    input_index: int
    window: str | bool
    autocast: torch.dtype | None
    eval_mode: bool
    nonfinite: str
    groups: int
    generator: torch.Generator | None


class Ways(TypedDict):
    """The keywords of :func:`~captum_erf.network.gradient.unit_gradients`."""

    autocast: torch.dtype | None
    lift: float


@dataclass(frozen=True)
class Measurement:
    """
    The network, its units, and the settings of ``EffectiveReceptiveField.aggregate``; refuses what makes no sense.

    ``memo`` keeps what setting up has found out, for all measurements of one object, and ``lift`` by which power of two
    gradients are larger on their way, so that they do not fade out.
    """

    network: Network
    positions: Positions = ("center",)
    channel: Channel = None
    neuron_selector: NeuronSelector | None = None
    magnitude: Magnitude = "abs"
    normalize: bool = False
    additional_forward_args: Any = None
    get_inputs: Callable[[Any], Any] | None = None
    get_groups: Callable[[Any], Iterable[Hashable]] | None = None
    input_index: int = 0
    window: str | bool = "auto"
    autocast: torch.dtype | None = None
    eval_mode: bool = True
    nonfinite: str = "raise"
    groups: int = 10
    generator: torch.Generator | None = None
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)
    lift: float = 1.0

    def __post_init__(self) -> None:
        check_magnitude(self.magnitude)
        if not isinstance(self.normalize, bool):
            raise TypeError(f"normalize must be True or False, got {self.normalize!r}.")
        if self.normalize and self.magnitude == "signed":
            raise ValueError(
                'normalize=True divides every sample map by its own sum, in which values of magnitude="signed" cancel; '
                "take another magnitude, or leave the maps as they are."
            )
        make_reader(self.neuron_selector, "center", self.channel)
        if self.window not in ("auto", False):
            raise ValueError(f'window must be "auto" or False, got {self.window!r}.')
        if self.autocast not in (None, torch.bfloat16, torch.float16):
            raise ValueError(f"autocast must be None, torch.bfloat16 or torch.float16, got {self.autocast!r}.")
        object.__setattr__(self, "positions", check_positions(self.positions))
        if isinstance(self.groups, bool) or not isinstance(self.groups, int):
            raise TypeError(f"groups must be a whole number of groups of samples, such as 10, got {self.groups!r}.")
        if self.groups < 1:
            raise ValueError(f"groups must be 1 or more, got {self.groups}; 10 is the usual number for a jackknife.")
        if self.generator is not None and not isinstance(self.generator, torch.Generator):
            raise TypeError(
                f"generator must be a torch.Generator or None, got a {type(self.generator).__name__}; pass "
                "torch.Generator().manual_seed(seed)."
            )
        if self.nonfinite not in ("raise", "skip"):
            raise ValueError(f'nonfinite must be "raise" or "skip", got {self.nonfinite!r}.')

    @property
    def ways(self) -> Ways:
        """How gradients are computed."""
        return {"autocast": self.autocast, "lift": self.lift}

    def read(self, item: Any, limit: int | None = None) -> Batch:
        """What a data loader's item holds, at most ``limit`` samples of it, on the network's device."""
        layout = self.network.input_layout
        batch = read_batch(item, self.get_inputs, self.additional_forward_args, self.input_index, layout)
        return (batch if limit is None else batch.head(limit)).to(self.network.device)

    def names(self, item: Any, samples: int) -> list[str] | int:
        """What ``get_groups`` names the images of a data loader's item, of its first samples; else their number."""
        if self.get_groups is None:
            return samples
        found = self.get_groups(item)
        names = [repr(name) for name in (found.tolist() if isinstance(found, Tensor) else found)]
        if len(names) < samples:
            raise ValueError(
                f"get_groups gave {len(names)} names for {samples} samples; it must give one for each sample of a "
                "batch, such as the file that a crop is of."
            )
        return names[:samples]

    @contextmanager
    def running(self, batch: Batch) -> Iterator[Look | None]:
        """
        Gradients are on, modules in the wanted mode; everything is as before afterwards.

        What the network's first pass has shown is given, where it has run now.
        """
        shown: Look | None = None

        def look() -> tuple[Structure, bool]:
            nonlocal shown
            found = set_up(self.network, batch)
            shown = found.look
            return Structure(list(found.reach.modules)), found.reach.is_plain

        known = self.memo.recall(("structure", self.eval_mode), look, lambda found: found[1] and found[0].holds)
        guarded = unchanged(known[0].modules, eval_mode=self.eval_mode, structure=known[0])
        with gradients_enabled(), denormals_flushed(), guarded, seeded(self.generator, batch.measured.device):
            yield shown
