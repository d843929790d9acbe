"""The result's face: an effective receptive field that prints, draws itself, and goes to a file and back."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from matplotlib.figure import Figure

from . import visualization
from .geometry.field import TheoreticalReceptiveField
from .geometry.region import Region
from .result import report, statistics
from .result.mean_map import MeanMap
from .result.sums import BY_GROUP, Groups

FILE_VERSION = 3
FAST = 1  # of zlib's levels: a fifth of the usual time for files that are 6 % larger


class ERFMap(MeanMap):
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
        groups (Groups): Sums of the sample maps by group, of which the mean and its jackknife are made.
        whole (ERFMap or None): The map from which :meth:`leave_one_out` made this one, None for a map of its own.

    Examples::

        >>> import torch
        >>> from torch import nn
        >>> from captum_erf import EffectiveReceptiveField, theory
        >>> model = nn.Sequential(*[nn.Conv1d(1, 1, 3, bias=False) for _ in range(6)])
        >>> for layer in model:
        ...     _ = nn.init.ones_(layer.weight)
        >>> field = EffectiveReceptiveField(model, "5").aggregate([torch.zeros(20, 1, 15)])
        >>> field.values.round(9)
        array([  0.,   1.,   6.,  21.,  50.,  90., 126., 141., 126.,  90.,  50.,
                21.,   6.,   1.,   0.])
        >>> field.center, round(field.radius_mass().diameter(0.5), 3)
        ((7.0,), 2.774)
        >>> round(field.equivalent_width(), 3), round(field.tail_ratio(), 3), field.threshold_size()
        (6.514, 2.402, 9.0)
        >>> [[round(end, 3) for end in interval] for interval in field.extent(0.9)]
        [[-3.331, 3.331]]
        >>> round(field.effective_pixels(), 3), round(field.square_share(0.5)[0], 3)
        (7.202, 2.774)
        >>> field.moments()
        Moments(centroid 7 px; sigmas 2 px)
        >>> field.gaussian_fit()
        GaussianFit(gaussian: R^2 0.9999; mean 7 px; sigmas 2.093 px; amplitude 143; background -1.388)
        >>> field.compare_shapes()[0].family
        'generalised gaussian'
        >>> round(field.share_of_theory(theory.random_weights(model, "5", (1, 15))), 2)  # equal weights are not random
        0.9
        >>> field.ratio(field, lambda field: field.equivalent_width())
        (1.0, 0.0)
        >>> row = field.summary()
        >>> row["trf_size"], round(row["diameter_50"], 3)
        ([13], 2.774)
        >>> figure = field.plot(title="Six convolutions")
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     field.save(f"{folder}/field.npz")
        ...     ERFMap.load(f"{folder}/field.npz").num_samples
        20
    """

    def summary(self) -> dict[str, Any]:
        r"""
        One row of a table: plain numbers, strings, lists and None, ready for JSON.

        Returns:
            *dict* with the unit's place and theoretical field, and for each measured number ``KEY`` also ``KEY_se``,
            its standard error. Lengths are in input pixels, angles in degrees.
        """
        return dict(self._summary)

    @cached_property
    def _summary(self) -> dict[str, Any]:
        return statistics.summary(self)

    def __str__(self) -> str:
        return report.text(self, self._summary)

    def __repr__(self) -> str:
        return f"ERFMap(layer={self.layer!r}, position={self.position}, num_samples={self.num_samples})"

    def plot(self, **options: Any) -> Figure:
        r"""
        The map with its theoretical field, Gaussian and radius-mass curve.

        Args:
            **options: As in :func:`visualization.plot`.

        Returns:
            *matplotlib.figure.Figure*
        """
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
        groups = self.groups
        header = {
            "version": FILE_VERSION,
            "num_nonfinite": groups.num_nonfinite,
            "layer": self.layer,
            "theoretical": self.theoretical and self.theoretical.to_dict(),
            "recipe": self.recipe,
            "group_offset": groups.region.offset,
        }
        arrays = {
            "header": np.array(json.dumps(header)),
            "values": self.values,
            "group_sums": groups.sums,
            **{f"group_{name}": getattr(groups, name) for name in BY_GROUP},
        }
        with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=FAST) as file:
            for name, array in arrays.items():
                with file.open(f"{name}.npy", "w", force_zip64=True) as part:
                    np.lib.format.write_array(part, array, allow_pickle=False)

    @classmethod
    def load(cls, path: str | Path) -> ERFMap:
        r"""
        Reads a map that :meth:`save` wrote.

        Args:
            path (str or Path): The ``.npz`` file.

        Returns:
            *ERFMap*, equal to the one that was saved.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is no ERFMap, damaged, or of another version.
        """
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                header = json.loads(str(stored["header"]))
                if header["version"] in (2, FILE_VERSION):
                    return cls._of_file(header, stored)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f"{path} is no file that ERFMap.save wrote, or a damaged one: {error}.") from error
        raise ValueError(
            f"{path} has schema version {header['version']}, this captum-erf reads versions 2 and {FILE_VERSION}; "
            "install the captum-erf that wrote it, or measure again."
        )

    @classmethod
    def _of_file(cls, header: dict[str, Any], stored: Any) -> ERFMap:
        values, sums = stored["values"], stored["group_sums"]
        unknown = {"squares": np.full(len(sums), np.nan), "prints": np.zeros(len(sums), np.int64)}
        numbers = {} if header["version"] > 2 else unknown
        numbers |= {name: stored[f"group_{name}"] for name in BY_GROUP if name not in numbers}
        region = Region(tuple(header["group_offset"]), sums.shape[1:])
        groups = Groups(sums, **numbers, region=region, size=values.shape, num_nonfinite=header["num_nonfinite"])
        theoretical = header["theoretical"] and TheoreticalReceptiveField.from_dict(header["theoretical"])
        loaded = cls(groups, header["layer"], theoretical, header["recipe"])
        size = tuple(loaded.recipe.get("input_shape", [0, *values.shape])[1:])
        is_whole = size == values.shape and {len(item) for item in numbers.values()} == {len(sums)}
        if not (is_whole and np.allclose(loaded.values, values, rtol=1e-9, atol=0)):
            raise ValueError("its parts do not fit together")
        return loaded
