"""The result: an effective receptive field, its numbers with standard errors, its report and its file.

Definitions follow Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks"
(NeurIPS 2016), section 2; the square share is that of Ding et al. (RepLKNet, CVPR 2022).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import summaries
from .geometry.field import TheoreticalReceptiveField
from .result import report
from .result.jackknife import delete_a_group, leave_one_out
from .result.sums import GroupSums, region

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE_VERSION = 2


@dataclass(frozen=True, eq=False, repr=False)
class ERFMap:
    r"""
    Effective receptive field of one unit of one layer, a mean over samples; ``print`` shows a report.

    Attributes:
        values (ndarray): The mean of the sample maps, float64, shape ``size``.
        num_samples (int): Samples in the mean, dead ones included.
        num_dead (int): Samples whose map is zero everywhere.
        num_nonfinite (int): Samples left out because their gradient was not finite.
        layer (str): Name of the layer.
        theoretical (TheoreticalReceptiveField or None): Field that the architecture allows; None where the layer
            has no grid.
        recipe (dict): Everything needed to repeat the measurement.
        group_sums (ndarray), group_counts (ndarray), group_offset (tuple): Sums of the sample maps by group, over the
            part of the input that starts at the offset; the jackknife is made of these.
        group_dead (ndarray): Dead samples by group.

    Examples::

        >>> import torch
        >>> from torch import nn
        >>> from captum_erf import EffectiveReceptiveField
        >>> model = nn.Sequential(nn.Conv1d(1, 1, 3, bias=False), nn.Conv1d(1, 1, 3, bias=False))
        >>> for layer in model:
        ...     _ = nn.init.ones_(layer.weight)
        >>> field = EffectiveReceptiveField(model, "1").aggregate([torch.zeros(2, 1, 7)])
        >>> field.values
        array([0., 1., 2., 3., 2., 1., 0.])
        >>> field.center, field.radius_mass().diameter(0.5)
        ((3.0,), 3.0)
    """

    values: NDArray[np.float64]
    num_samples: int
    num_dead: int
    layer: str
    theoretical: TheoreticalReceptiveField | None
    recipe: dict[str, Any]
    num_nonfinite: int = 0
    group_sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    group_counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    group_offset: tuple[int, ...] = ()
    group_dead: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @classmethod
    def from_sums(
        cls,
        sums: GroupSums,
        *,
        size: tuple[int, ...],
        layer: str,
        theoretical: TheoreticalReceptiveField | None,
        recipe: dict[str, Any],
    ) -> ERFMap:
        """The mean of what has been summed up so far."""
        groups = sums.sums.cpu().double().numpy().copy()
        counts = sums.counts.numpy().copy()
        values = np.zeros(size)
        values[region(sums.offset, sums.shape)] = groups.sum(0) / counts.sum()
        return cls(
            values,
            sums.num_samples,
            sums.num_dead,
            layer,
            theoretical,
            recipe,
            sums.num_nonfinite,
            groups,
            counts,
            sums.offset,
            sums.dead.numpy().copy(),
        )

    @property
    def position(self) -> tuple[int, ...] | None:
        """Index of the unit in the layer's grid; None where there is none."""
        return None if self.theoretical is None else self.theoretical.position

    @property
    def grid(self) -> tuple[int, ...] | None:
        """Units of the layer per axis; None where it has no grid."""
        return None if self.theoretical is None else self.theoretical.grid

    @property
    def center(self) -> tuple[float, ...]:
        """Unit centre in input pixels: where every radius starts."""
        if self.theoretical is None:
            return tuple((length - 1) / 2 for length in self.values.shape)
        return self.theoretical.center

    @property
    def center_source(self) -> str:
        """What the centre is the middle of: the theoretical field, the unit's grid cell, or the input."""
        return "input" if self.theoretical is None else self.theoretical.center_source

    def radius_mass(self, metric: str = "chebyshev") -> summaries.RadiusMass:
        """Share of the map's sum within each distance of the unit centre, see :func:`summaries.radius_mass`."""
        return summaries.radius_mass(self.values, self.center, metric)

    def gaussian_fit(self) -> summaries.GaussianFit:
        """Least-squares Gaussian with a constant background, see :func:`summaries.gaussian_fit`."""
        return summaries.gaussian_fit(self.values, self.center)

    def compare_shapes(self) -> list[summaries.ShapeFit]:
        """Fits of five radial families, best first, see :func:`summaries.compare_shapes`."""
        return summaries.compare_shapes(self.values, self.center)

    def moments(self) -> summaries.Moments:
        """Centroid and covariance of the map, see :func:`summaries.moments`."""
        return summaries.moments(self.values)

    def threshold_size(self, level: float = 1 - 0.9545) -> float:
        """Luo et al.'s size, see :func:`summaries.threshold_size`."""
        return summaries.threshold_size(self.values, self.center, level)

    def square_share(self, share: float) -> tuple[float, float]:
        """Ding et al.'s square, its side and share of the input, see :func:`summaries.square_share`."""
        return summaries.square_share(self.values, self.center, share)

    def effective_pixels(self) -> float:
        """Number of pixels that an even map with the same concentration would cover."""
        return summaries.effective_pixels(self.values)

    def estimate(self, statistic: Callable[[ERFMap], float | None]) -> tuple[float | None, float | None]:
        r"""
        A statistic of the map with its standard error over samples (delete-a-group jackknife).

        Args:
            statistic (Callable): Any function of an ``ERFMap`` that gives a number or None, of its values or of
                ``num_samples`` and ``num_dead``, which are those of the groups that stay (``num_nonfinite`` stays as
                it is); a ValueError that it raises for the map without one of the groups counts as None.

        Returns:
            *tuple* ``(value, standard_error)``. The error is None with fewer than two groups of samples, or where
            the statistic has no value without one of the groups.

        Examples::

            >>> import torch
            >>> from captum_erf import EffectiveReceptiveField
            >>> erf = EffectiveReceptiveField(torch.nn.Conv1d(1, 1, 3), layer="")
            >>> field = erf.aggregate([torch.randn(20, 1, 9)])
            >>> field.estimate(lambda field: field.values.sum())[1] < 1e-6
            True
        """
        value = statistic(self)
        if value is None:
            return None, None
        try:
            rest = [statistic(other) for other in self.leave_one_out()]
        except ValueError:
            return value, None
        known = [other for other in rest if other is not None]
        return value, delete_a_group(known) if len(known) == len(rest) else None

    def leave_one_out(self) -> Iterator[ERFMap]:
        """The map without each group of samples in turn; nothing with fewer than two groups."""
        dead = self.group_dead if len(self.group_dead) else np.zeros_like(self.group_counts)
        means = leave_one_out(self.group_sums, self.group_counts.tolist())
        for group, mean in zip(np.flatnonzero(self.group_counts), means, strict=False):
            values = np.zeros_like(self.values)
            values[region(self.group_offset, mean.shape)] = mean
            yield replace(
                self,
                values=values,
                num_samples=self.num_samples - int(self.group_counts[group]),
                num_dead=self.num_dead - int(dead[group]),
                group_sums=self.group_sums[:0],
                group_counts=self.group_counts[:0],
                group_dead=self.group_dead[:0],
            )

    def _fits_together(self) -> bool:
        """Whether the values are finite and of the input's size, and the groups' sums lie within."""
        size, groups = self.values.shape, len(self.group_counts)
        places = zip(self.group_offset, self.group_sums.shape[1:], size, strict=True)
        return bool(
            np.isfinite(self.values).all()
            and np.isfinite(self.group_sums).all()
            and size == tuple(self.recipe.get("input_shape", [0, *size])[1:])
            and len(self.group_sums) == groups
            and len(self.group_dead) in (0, groups)
            and (groups == 0 or all(start >= 0 and start + length <= limit for start, length, limit in places))
            and 0 <= self.num_dead <= self.num_samples
        )

    def summary(self) -> dict[str, Any]:
        r"""
        One row of a table: plain numbers, strings, lists and None, ready for JSON.

        Returns:
            *dict* with the unit's place and theoretical field, and for each measured number ``KEY`` also ``KEY_se``,
            its standard error. Lengths are in input pixels, angles in degrees.
        """
        return report.summary(self)

    def __str__(self) -> str:
        return report.text(self)

    def __repr__(self) -> str:
        return f"ERFMap(layer={self.layer!r}, position={self.position}, num_samples={self.num_samples})"

    def plot(self, **options: Any) -> Figure:
        """The map with its theoretical field, Gaussian and radius-mass curve, see :func:`visualization.plot`."""
        from . import visualization

        return visualization.plot(self, **options)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        r"""
        Writes the map and all that belongs to it to a ``.npz`` file, without pickle.

        Args:
            path (str or Path): File to write, with the ending ``.npz``.
            overwrite (bool): Replace a file that is there.

        Raises:
            FileExistsError: The file is there and ``overwrite`` is False.
            ValueError: The path does not end in ``.npz``.
        """
        target = Path(path)
        if target.suffix != ".npz":
            raise ValueError(f"save writes .npz files, got {str(path)!r}; name it {target.stem}.npz.")
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists; choose another name or pass overwrite=True.")
        header = {
            "version": FILE_VERSION,
            "num_samples": self.num_samples,
            "num_dead": self.num_dead,
            "num_nonfinite": self.num_nonfinite,
            "layer": self.layer,
            "theoretical": self.theoretical and self.theoretical.to_dict(),
            "recipe": self.recipe,
            "group_offset": self.group_offset,
        }
        np.savez_compressed(
            target,
            header=np.array(json.dumps(header)),
            values=self.values,
            group_sums=self.group_sums,
            group_counts=self.group_counts,
            group_dead=self.group_dead,
        )

    @classmethod
    def load(cls, path: str | Path) -> ERFMap:
        r"""
        Reads a map that :meth:`save` wrote.

        Args:
            path (str or Path): The ``.npz`` file.

        Returns:
            *ERFMap*

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is no ERFMap, damaged, or of another version.
        """
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                header = json.loads(str(stored["header"]))
                version = header.pop("version")
                if version == FILE_VERSION:
                    arrays = {key: stored[key] for key in ("values", "group_sums", "group_counts", "group_dead")}
                    theoretical = header.pop("theoretical")
                    offset = tuple(header.pop("group_offset"))
                    found = theoretical and TheoreticalReceptiveField.from_dict(theoretical)
                    loaded = cls(**arrays, **header, theoretical=found, group_offset=offset)
                    if not loaded._fits_together():
                        raise ValueError("its parts do not fit together")
                    return loaded
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f"{path} is no file that ERFMap.save wrote, or a damaged one: {error}.") from error
        raise ValueError(
            f"{path} has schema version {version}, this captum-erf reads version {FILE_VERSION}; install the "
            "captum-erf that wrote it, or measure again."
        )
