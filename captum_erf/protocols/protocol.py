"""Other tools' recipes, each giving the number that its tool publishes, so that new results can stand beside old ones.

- ``LUO2016``: mean |dy/dx| and the threshold size of Luo et al., "Understanding the Effective Receptive Field in Deep
  Convolutional Neural Networks", NeurIPS 2016, section 3.
- ``REPLKNET``: the share of the input that a square must cover, of Ding et al., "Scaling Up Your Kernels to 31x31",
  CVPR 2022, table 8.
- ``OPENERF``: rectified gradients, with the share of their sum within Euclidean radii.
- ``NEURAL_API``: the report of ``TNNet.EffectiveReceptiveFieldReport`` in CAI Neural API.
- ``ENERGY``: squared gradients, of which the variance analysis of Luo et al. speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from torch import Tensor
from torch.nn import Module

from ..attribution import EffectiveReceptiveField
from ..erfmap import ERFMap
from ..names import named, plain
from .draws import aggregate_draws
from .reports import (
    EnergyReport,
    LuoReport,
    NeuralAPIReport,
    OpenERFReport,
    ProtocolReport,
    RepLKNetReport,
)

R = TypeVar("R", bound=ProtocolReport)


@dataclass(frozen=True, eq=False, repr=False)
class Protocol(Generic[R]):
    r"""
    A named way to measure a field and to put it into numbers.

    Attributes:
        name (str): Its name in this module.
        settings (Mapping): Keywords of ``EffectiveReceptiveField.aggregate`` that it fixes.
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

    name: str
    settings: Mapping[str, Any]
    report_type: type[R]
    central: bool = False

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
        fixed = {*self.settings, "neuron_selector", *(("position",) if self.central else ())}
        clashing = sorted(fixed & options.keys())
        if clashing:
            raise ValueError(
                f"{self.name} fixes {clashing[0]}; drop {clashing[0]}=, or call erf.aggregate, which leaves it open."
            )
        if isinstance(erf, EffectiveReceptiveField):
            field = erf.aggregate(dataloader, **self.settings, **options)
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
        recipe = {"channel": None, "magnitude": "abs", "neuron_selector": None} | field.recipe
        wanted = {key: plain(value) for key, value in self.settings.items()} | {"neuron_selector": None}
        different = [key for key, value in wanted.items() if recipe[key] != value]
        if different:
            key = different[0]
            raise ValueError(
                f"{self.name} needs {key} {wanted[key]!r}, this field was measured with {recipe[key]!r}; measure it "
                f"with protocols.{self.name}.aggregate(erf, dataloader)."
            )
        center = None if field.grid is None else tuple(length // 2 for length in field.grid)
        if self.central and field.position != center:
            raise ValueError(
                f"{self.name} is about the centre unit {center}, this field is that of unit {field.position}; measure "
                f"it with protocols.{self.name}.aggregate(erf, dataloader)."
            )
        return self.report_type.of(field)

    def __repr__(self) -> str:
        return f"protocols.{self.name}"


@named("captum_erf.protocols.relu_sum")
def relu_sum(values: Tensor) -> Tensor:
    """Sum over channels of the rectified values of a unit ``(N, C)``."""
    return values.relu().sum(1)


@named("captum_erf.protocols.channel_mean")
def channel_mean(values: Tensor) -> Tensor:
    """Mean over channels of the values of a unit ``(N, C)``."""
    return values.mean(1)


@named("captum_erf.protocols.rectified_mean")
def rectified_mean(gradient: Tensor) -> Tensor:
    """Positive part of the mean over input channels of a gradient ``(N, C_in, *size)``."""
    return gradient.mean(1).clamp_min(0)


LUO2016 = Protocol("LUO2016", {"magnitude": "abs"}, LuoReport)
REPLKNET = Protocol("REPLKNET", {"channel": relu_sum, "magnitude": "positive"}, RepLKNetReport, central=True)
OPENERF = Protocol("OPENERF", {"channel": channel_mean, "magnitude": rectified_mean}, OpenERFReport, central=True)
NEURAL_API = Protocol("NEURAL_API", {"channel": 0, "magnitude": "abs"}, NeuralAPIReport, central=True)
ENERGY = Protocol("ENERGY", {"magnitude": "square"}, EnergyReport)

PROTOCOLS: dict[str, Protocol[Any]] = {
    protocol.name: protocol for protocol in (LUO2016, REPLKNET, OPENERF, NEURAL_API, ENERGY)
}
