"""Sample maps: the gradient of a unit with the input's channels put together, sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..geometry.region import Region

Magnitude = str | Callable[[Tensor], Tensor]

MAGNITUDES: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": lambda gradient: gradient.abs().sum(1),
    "square": lambda gradient: _wide(gradient).square().sum(1),
    "positive": lambda gradient: gradient.clamp_min(0).sum(1),
    "signed": lambda gradient: gradient.sum(1),
}


@dataclass(frozen=True)
class SampleMaps:
    """Sample maps ``(N, *region.shape)`` over a region of the input, zero elsewhere."""

    values: Tensor
    region: Region

    def over(self, size: Sequence[int]) -> Tensor:
        """The maps over the whole input, ``(N, *size)``."""
        return _placed(self.values, self.region, size)

    def normalized(self) -> SampleMaps:
        """
        The maps over their own sums, in double precision where the device has it; those that are zero stay so.

        Examples::

            >>> maps = SampleMaps(torch.tensor([[1.0, 3.0], [0.0, 0.0], [50.0, 50.0]]), Region.whole((2,)))
            >>> maps.normalized().values.tolist()
            [[0.25, 0.75], [0.0, 0.0], [0.5, 0.5]]
        """
        spatial = tuple(range(1, self.values.ndim))
        shares = _wide(self.values)
        for total in (torch.amax, torch.sum):  # a map over its largest value first has a sum that is a float
            size = total(shares, spatial, keepdim=True)
            shares = shares / torch.where(size == 0, 1, size)
        return replace(self, values=shares)

    def check_not_negative(self) -> None:
        """Refuses to normalise maps in which values may cancel, as only a callable magnitude makes them."""
        if bool((self.values < 0).any()):
            raise ValueError(
                "normalize=True divides every sample map by its own sum, but the callable magnitude gave negative "
                "values, which cancel in it; let it return values of 0 or more, or drop normalize=True."
            )


def sample_maps(gradient: Tensor, region: Region, size: Sequence[int], magnitude: Magnitude) -> SampleMaps:
    """Sample maps of the gradient ``(N, C_in, *region.shape)`` with respect to a region of the input.

    They are in single precision or better. A callable magnitude gets the gradient with respect to the whole input.

    Raises:
        ValueError: A callable magnitude gives maps of another shape.
    """
    gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    if not callable(magnitude):
        return SampleMaps(MAGNITUDES[magnitude](gradient), region)
    maps, wanted = magnitude(_placed(gradient, region, size)), (len(gradient), *size)
    if tuple(maps.shape) != wanted:
        raise ValueError(f"The callable magnitude must return sample maps of shape {wanted}, got {tuple(maps.shape)}.")
    return SampleMaps(maps, Region.whole(size))


def check_magnitude(magnitude: Magnitude) -> None:
    """Refuses a magnitude of no known name."""
    if not callable(magnitude) and magnitude not in MAGNITUDES:
        raise ValueError(f"magnitude must be one of {', '.join(MAGNITUDES)} or a callable, got {magnitude!r}.")


def _wide(gradient: Tensor) -> Tensor:
    """In double precision, in which no square of a float overflows or vanishes, where the device has it."""
    return gradient if gradient.device.type == "mps" else gradient.double()


def _placed(part: Tensor, region: Region, size: Sequence[int]) -> Tensor:
    """A part at its place in the whole input, with zeros elsewhere."""
    if region == Region.whole(size):
        return part
    whole = part.new_zeros(*part.shape[: -len(size)], *size)
    whole[region.index] = part
    return whole
