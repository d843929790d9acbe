"""What other tools' recipes share: to measure as the tool does, and a report of its numbers."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from torch.nn import Module

from .. import text
from ..attribution import EffectiveReceptiveField
from ..erfmap import ERFMap
from ..measurement.recipe import DEFAULTS
from ..names import plain
from .draws import aggregate_draws

line = partial(text.line, width=20)
UNTOUCHED = ("neuron_selector", "normalize")  # settings that no tool has


@dataclass(frozen=True, repr=False)
class ProtocolReport(ABC):
    """
    What all reports tell.

    Attributes:
        protocol (str), source (str): The protocol's name, and the paper or tool that it is of.
        layer (str), input_size (tuple[int, ...]): The layer, and the size of the input in pixels.
        num_samples (int), num_draws (int or None): Over how much the map is a mean; None without draws of weights.
    """

    protocol: ClassVar[str]
    source: ClassVar[str]

    layer: str
    input_size: tuple[int, ...]
    num_samples: int
    num_draws: int | None

    @classmethod
    def of(cls, field: ERFMap) -> Self:
        """The report of a field."""
        return cls(
            layer=field.layer,
            input_size=field.groups.size,
            num_samples=field.num_samples,
            num_draws=field.recipe.get("draws"),
            **cls._describe(field),
            **cls._numbers(field),
        )

    @classmethod
    def _numbers(cls, field: ERFMap) -> dict[str, Any]:
        """What is measured, and the standard error of each number."""
        values, errors = field.estimate(cls._measure)
        numbers: dict[str, Any] = {}
        for key, value in values.items():
            error = np.full(np.shape(value), None) if errors[key] is None else errors[key]
            numbers |= {key: _frozen(value), f"{key}_se": _frozen(error)}
        return numbers

    @staticmethod
    def _measure(field: ERFMap) -> dict[str, Any]:
        """The numbers that hang on the samples, and so have a standard error."""
        return {}

    @staticmethod
    def _describe(field: ERFMap) -> dict[str, Any]:
        """All else that the report tells."""
        return {}

    @abstractmethod
    def _lines(self) -> list[str]: ...

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON has them: lists in place of tuples."""
        row: dict[str, Any] = json.loads(json.dumps({"protocol": self.protocol} | asdict(self)))
        return row

    def __repr__(self) -> str:
        draws = "" if self.num_draws is None else f", {self.num_draws} draws of weights"
        title = f"{self.protocol} ({self.source}), layer {self.layer!r}"
        samples = f"  {self.num_samples} samples of {text.times(self.input_size)}{draws}"
        return "\n".join([title, samples, *self._lines()])


def _frozen(value: Any) -> Any:
    values = np.asarray(value).tolist()
    return tuple(values) if isinstance(values, list) else values


def known_trf(field: ERFMap) -> tuple[int, ...] | None:
    """Size of the theoretical field; None where it is global or only known in part."""
    trf = field.theoretical
    return trf.size if trf is not None and trf.is_known else None


def trf_words(size: tuple[int, ...] | None) -> str:
    return "global, or only known in part" if size is None else f"{text.times(size)} px"


R = TypeVar("R", bound=ProtocolReport)


@dataclass(frozen=True, eq=False, repr=False)
class Protocol(Generic[R]):
    r"""
    A named way to measure a field and to put it into numbers.

    Attributes:
        name (str): Its name in :mod:`captum_erf.protocols`.
        settings (Mapping): Keywords of ``EffectiveReceptiveField.aggregate`` that it fixes.
        report_type (type): What :meth:`report` gives.
        central (bool): Whether it is about the centre unit alone, and measures around the middle of the input.

    Examples::

        >>> import torch
        >>> from torch import nn
        >>> from captum_erf import EffectiveReceptiveField, protocols
        >>> erf = EffectiveReceptiveField(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)), "1")
        >>> field = protocols.REPLKNET.aggregate(erf, torch.randn(4, 8, 3, 32, 32))
        >>> protocols.REPLKNET.report(field).rows[-1].side
        5
    """

    settings: Mapping[str, Any]
    report_type: type[R]
    central: bool = False

    @property
    def name(self) -> str:
        return self.report_type.protocol

    def aggregate(
        self,
        erf: EffectiveReceptiveField | Callable[[], EffectiveReceptiveField],
        dataloader: Iterable[Any],
        **options: Any,
    ) -> ERFMap:
        r"""
        Measures a field as the protocol does.

        Args:
            erf (EffectiveReceptiveField or Callable): One layer of a network. For a study of random weights a function
                that makes it anew, such as ``lambda: EffectiveReceptiveField(make_model(), "layer4")``: every batch
                is then measured on a network of its own, and standard errors are over these draws.
            dataloader (Iterable): Batches of inputs.
            **options: Keywords of ``EffectiveReceptiveField.aggregate`` that the protocol leaves open.

        Returns:
            *ERFMap* whose recipe names the protocol.

        Raises:
            ValueError: An option is one that the protocol fixes.
            TypeError: ``erf`` is neither of the two.
        """
        fixed = {*self.settings, *UNTOUCHED, *(("position",) if self.central else ())}
        for option in sorted(fixed & options.keys()):
            raise ValueError(
                f"{self.name} fixes {option}; drop {option}=, or call erf.aggregate, which leaves it open."
            )
        if isinstance(erf, EffectiveReceptiveField):
            field = erf.aggregate(dataloader, **self.settings, **self._position(erf), **options)
        elif callable(erf) and not isinstance(erf, Module):
            field = aggregate_draws(erf, dataloader, **self.settings, **options)
        else:
            raise TypeError(
                f"{self.name}.aggregate takes an EffectiveReceptiveField, or a function that makes one, got a "
                f'{type(erf).__name__}; pass EffectiveReceptiveField(model, "layer4").'
            )
        return replace(field, recipe=field.recipe | {"protocol": self.name})

    def report(self, field: ERFMap) -> R:
        r"""
        The protocol's numbers of a field that was measured as it asks.

        Args:
            field (ERFMap): From :meth:`aggregate`, or measured with the same settings.

        Returns:
            A frozen dataclass of plain numbers that prints as a report, with ``to_dict()``. Lengths are in input
            pixels, names that end in ``_se`` are standard errors.

        Raises:
            ValueError: The field was measured otherwise.
        """
        recipe = DEFAULTS | field.recipe
        for key, wanted in {**self.settings, **{key: DEFAULTS[key] for key in UNTOUCHED}}.items():
            if recipe[key] != plain(wanted):
                raise ValueError(
                    f"{self.name} needs {key} {plain(wanted)!r}, this field was measured with {recipe[key]!r}; measure "
                    f"it with protocols.{self.name}.aggregate(erf, dataloader)."
                )
        center = None if field.grid is None else self._unit(field.grid, field.recipe)
        if self.central and field.position != center:
            raise ValueError(
                f"{self.name} is about the centre unit {center}, this field is that of unit {field.position}; measure "
                f"it with protocols.{self.name}.aggregate(erf, dataloader)."
            )
        return self.report_type.of(field)

    def _position(self, erf: EffectiveReceptiveField) -> dict[str, Any]:
        """The ``position`` that the protocol asks for, where that is not the centre."""
        return {}

    def _unit(self, grid: tuple[int, ...], recipe: Mapping[str, Any]) -> tuple[int, ...]:
        """The unit that it is about, where it is about one."""
        return tuple(length // 2 for length in grid)

    def __repr__(self) -> str:
        return f"protocols.{self.name}"
