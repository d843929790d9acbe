"""Models by name, and the layers of theirs that are measured when none is named."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import math
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..network.layouts import Layout, apply_layout, channels_last, check_layout, fits_input
from ..network.passes import layer_shapes

Shapes = Mapping[str, tuple[int, ...] | None]
Channels = tuple[float, float, float]

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
RANDOM = "random (seed {seed}), not those of the trained network"


class WeightsError(RuntimeError):
    """Weights that cannot be fetched, read or fitted to the model."""


@dataclass(frozen=True)
class NamedModel:
    """A model, what its weights are in words, and the images that it expects."""

    model: nn.Module
    weights: str
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    size: int = 224


def load_model(name: str, weights: str | None = None, *, seed: int = 0) -> NamedModel:
    r"""
    A model in evaluation mode, by its name.

    Args:
        name (str): A torchvision name, ``timm:NAME``, or ``package.module:factory``, which is looked for in the
            current directory too.
        weights (str, optional): None for random ones, ``"DEFAULT"`` or the name of published ones, or a file with
            a state dict, read without pickle.
        seed (int): Of random weights.

    Raises:
        ValueError: There is no such model or weights; the nearest names are listed.
        ImportError: torchvision, timm or the factory's module cannot be imported.
        WeightsError: The weights cannot be downloaded, or the file does not fit the model.
    """
    file = _file(weights)
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name.startswith("timm:"):
            found = _timm(name.removeprefix("timm:"), None if file else weights)
        elif ":" in name:
            found = _factory(name, None if file else weights)
        else:
            found = _torchvision(name, None if file else weights)
    if file:
        _read_weights(found.model, file)
        found = replace(found, weights=f"from the file {file}")
    found.model.eval().requires_grad_(False)
    return replace(found, weights=found.weights.format(seed=seed))


def _file(weights: str | None) -> Path | None:
    if weights is None:
        return None
    path = Path(weights)
    if path.is_file():
        return path
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt") or len(path.parts) > 1:
        raise ValueError(f"--weights: there is no file {weights}.")
    return None


def _torchvision(name: str, weights: str | None) -> NamedModel:
    models = _import_torchvision().models
    names = models.list_models(exclude="quantized_*")
    if name not in names:
        raise ValueError(f"torchvision has no model {name!r}{_near(name, names)}.{_timm_has(name)}")
    options: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        options["weights_backbone"] = None
    if weights is None:
        return NamedModel(models.get_model(name, **options), RANDOM)
    published = models.get_model_weights(name)
    if weights not in published.__members__:
        raise ValueError(
            f"{name} has no weights {weights!r}{_near(weights, published.__members__)}. A file will do too."
        )
    model = _fetch(lambda: models.get_model(name, **{**options, "weights": weights}))
    return NamedModel(model, f"trained, torchvision's {published[weights]}")


def _import_torchvision() -> ModuleType:
    try:
        return importlib.import_module("torchvision")
    except ImportError as error:
        raise ImportError(
            f'torchvision cannot be imported ({error}); install it with pip install "captum-erf[cli]".'
        ) from error
    except RuntimeError as error:
        raise ImportError(
            f"torchvision does not fit the installed torch {torch.__version__} ({error}). The two must come as a pair: "
            "pip install --force-reinstall torch torchvision, from one index."
        ) from error


def _timm(name: str, weights: str | None) -> NamedModel:
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise ImportError(f"timm cannot be imported ({error}); install it with pip install timm.") from error
    except RuntimeError:
        _import_torchvision()
        raise
    names = timm.list_models()
    if name.split(".")[0] not in names:
        raise ValueError(f"timm has no model {name!r}{_near(name, names, prefix='timm:')}.")
    if weights not in (None, "DEFAULT"):
        raise ValueError(
            f"--weights for timm is DEFAULT or a file, got {weights!r}; name other weights after the model, such as "
            "timm:resnet50.a1_in1k --weights DEFAULT."
        )
    model = _fetch(lambda: timm.create_model(name, pretrained=weights is not None))
    config = getattr(model, "pretrained_cfg", {})
    words = f"trained, timm's {config.get('tag') or 'default'}" if weights else RANDOM
    size = config.get("input_size", (3, 224, 224))[-1]
    return NamedModel(model, words, config.get("mean", IMAGENET_MEAN), config.get("std", IMAGENET_STD), size)


def _timm_has(name: str) -> str:
    if "timm" not in sys.modules and importlib.util.find_spec("timm") is None:
        return ""
    known = name.split(".")[0] in importlib.import_module("timm").list_models()
    return f" timm has it: timm:{name}" if known else ""


def _fetch(create: Any) -> nn.Module:
    try:
        model: nn.Module = create()
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"The model could not be made with its weights: {type(error).__name__}: {error}") from error
    return model


def _factory(name: str, weights: str | None) -> NamedModel:
    place, _, attribute = name.partition(":")
    if weights is not None:
        raise ValueError(
            f"--weights {weights!r} names no file; a model of one's own takes a file with a state dict, or brings its "
            "weights along."
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(place)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
            raise ValueError(
                f"There is no module {place!r} in {Path.cwd()} or among the installed packages; MODEL is a torchvision "
                "name, timm:NAME or package.module:factory."
            ) from error
        raise ImportError(f"{place} cannot be imported: {_at_fault(error)}") from error
    if not hasattr(module, attribute):
        raise ValueError(f"{place} has no {attribute!r}{_near(attribute, vars(module))}.")
    made = getattr(module, attribute)
    try:
        model = made if isinstance(made, nn.Module) else made()
    except Exception as error:
        raise ImportError(f"{name}() failed: {_at_fault(error)}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name}() returned a {type(model).__name__}; expected a torch.nn.Module.")
    return NamedModel(model, f"as {name} left them (seed {{seed}})")


def _at_fault(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"


def _read_weights(model: nn.Module, file: Path) -> None:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{file} holds no weights that can be read without pickle; write them with "
            "torch.save(model.state_dict(), path)."
        ) from error
    for key in ("state_dict", "model"):
        state = state.get(key, state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise WeightsError(
            f"{file} holds a {type(state).__name__}; expected a state dict of names and tensors, as model.state_dict() "
            "gives."
        )
    state = {name.removeprefix("module."): value for name, value in state.items()}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{file} does not fit the model: {str(error).splitlines()[-1].strip()}") from error
    if missing or unexpected:
        raise WeightsError(
            f"{file} does not fit the model: {len(missing)} of its weights are missing{_some(missing)}, and "
            f"{len(unexpected)} belong to none{_some(unexpected)}."
        )
    broken = [name for name, weight in model.named_parameters() if weight.isnan().any()]
    if broken:
        raise WeightsError(f"{file} holds NaN in {len(broken)} weights{_some(broken)}; take those of an earlier epoch.")


def _some(names: Iterable[str]) -> str:
    first = list(names)[:3]
    return f" ({', '.join(first)}, ...)" if first else ""


def _near(name: str, names: Iterable[str], prefix: str = "") -> str:
    public = [other for other in names if not other.startswith("_")]
    close = difflib.get_close_matches(name, public, n=3, cutoff=0.5) or public[:3]
    return f"; the nearest names are {', '.join(prefix + other for other in close)}" if close else ""


def shapes_on(model: nn.Module, size: int) -> Shapes:
    """What the model's modules hand over for one image of that size, see :func:`passes.layer_shapes`."""
    weight = next(model.parameters(), None)
    image = torch.zeros(1, 3, size, size, device=None if weight is None else weight.device)
    try:
        return layer_shapes(model, image)
    except Exception as error:
        likely = "Set --size to the side that it takes"
        if weight is not None and weight.dtype != image.dtype:
            likely = f"Let it have weights of float32, as the images, instead of {weight.dtype}: model.float()"
        raise ValueError(
            f"The model does not run on an image of shape (1, 3, {size}, {size}): {error}. "
            f"{likely}; models of other inputs need the Python interface."
        ) from error


def read_shape(name: str, shape: tuple[int, ...] | None, layout: Layout, size: int) -> tuple[int, ...]:
    """The layer's shape as ``(N, C, *grid)``; a ValueError where the layout reads none."""
    if shape is None:
        raise ValueError(f"Layer {name!r} hands over no tensor; use the Python interface with a layout of your own.")
    read = apply_layout(layout, torch.empty(shape, device="meta"), name)
    check_layout(layout, read.shape, (1, 3, size, size), name)
    return tuple(read.shape)


def detect_layout(shapes: Shapes, size: int) -> Layout:
    r"""
    How the outputs are read: channels first, unless reading them channels last gives more resolutions.

    Raises:
        ValueError: The outputs are tokens, whose grid only the user knows.
    """
    first, last = (_grids(shapes, layout, size) for layout in ("channels_first", channels_last))
    resolutions = len(set(first.values())), len(set(last.values()))
    tensors = [shape for shape in shapes.values() if shape is not None]
    sequences = [shape for shape in tensors if len(shape) == 3]
    if max(resolutions) < 2 and len(sequences) > len(tensors) / 2:
        raise ValueError(_tokens_message(Counter(sequences).most_common(1)[0][0]))
    return channels_last if resolutions[1] > resolutions[0] else "channels_first"


def _tokens_message(shape: tuple[int, ...]) -> str:
    length = shape[1]
    side = math.isqrt(length)
    prefix = length - side**2
    front = f" and the first {prefix} stand for no place (class token, registers)" * (prefix > 0)
    return (
        f"The layers hand over {length} tokens of {shape[2]} channels, whose places in the image only you know. Pass "
        f"--layout tokens{f':{prefix}' * (prefix > 0)} if they are {side} x {side} row by row{front}; without --layers "
        "the last layer is measured then."
    )


def _grids(shapes: Shapes, layout: Layout, size: int) -> dict[str, tuple[int, ...]]:
    """Layers whose units have the same stride on both axes, with their grids, in the order of the shapes."""
    grids = {}
    for name, shape in shapes.items():
        try:
            grid = read_shape(name, shape, layout, size)[2:]
        except (ValueError, TypeError, IndexError):
            continue
        if fits_input(grid, (size, size)) and max(grid) > 1:
            grids[name] = grid
    return grids


def default_layers(model: nn.Module, shapes: Shapes, layout: Layout, size: int) -> list[str]:
    r"""
    For every spatial resolution the last stage that produces it, in the order in which they run.

    A stage is a module of the network's own, or of a module that runs through resolutions of its own: ``relu``,
    ``layer1``, ..., ``layer4`` in ResNet-18, ``features.3``, ... in VGG-16. Single units and adaptive pooling do not
    count, nor what ends in a layer norm, after which the sum over channels is nearly constant.

    Raises:
        ValueError: No module hands over a grid in this layout.
    """
    grids = _grids(shapes, layout, size)
    pooling = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
    normed = {name for name in grids if ends_in_layer_norm(model, shapes, name)}
    stages = [
        name
        for name in _stages("", list(shapes), grids, normed)
        if name not in normed and not isinstance(model.get_submodule(name), pooling)
    ]
    last = {grids[name]: name for name in sorted(stages, key=list(grids).index)}
    if not last:
        raise ValueError(
            f"No module of {type(model).__name__} hands over a grid of units; --list-layers shows what they hand over. "
            "Name layers with --layers and say how to read them with --layout, or use the Python interface."
        )
    return sorted(last.values(), key=list(grids).index)


def ends_in_layer_norm(model: nn.Module, shapes: Shapes, name: str) -> bool:
    """Whether the last that the module does, as far as its parts tell, is a layer norm over the channels."""
    if isinstance(model.get_submodule(name), nn.LayerNorm):
        return True
    parts = _parts(name, list(shapes))
    return bool(parts) and shapes[parts[-1]] == shapes[name] and ends_in_layer_norm(model, shapes, parts[-1])


def _stages(parent: str, order: list[str], grids: Mapping[str, tuple[int, ...]], inner: AbstractSet[str]) -> list[str]:
    """Modules with a grid below the parent; of ``inner``, and where resolutions arise inside, the stages within."""
    found = []
    for name in _parts(parent, order):
        parts = _parts(name, order)
        before = order[: order.index(parts[0])] if parts else order
        known = {grids.get(other) for other in (*before, name)}
        if (name in inner and parts) or any(part in grids and grids[part] not in known for part in parts):
            found += _stages(name, order, grids, inner)
        elif name in grids:
            found.append(name)
    return found or [parent] * (parent in grids)


def _parts(parent: str, order: list[str]) -> list[str]:
    """The modules right below the parent among those that run, in the order in which they finish."""
    below = [name for name in order if name != parent and (not parent or name.startswith(f"{parent}."))]
    outer = set(below)
    return [name for name in below if not _ancestors(name) & outer]


def _ancestors(name: str) -> set[str]:
    pieces = name.split(".")
    return {".".join(pieces[:count]) for count in range(1, len(pieces))}
