"""Models by name: torchvision's, timm's, and those of the user's own modules and files."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..images import Look
from . import texts
from .texts import Wanted

RANDOM = "random (seed {seed}), not those of the trained network"


class WeightsError(RuntimeError):
    """Weights that cannot be fetched, read or fitted to the model."""


@dataclass(frozen=True)
class Code:
    """The Python that makes a model."""

    imports: str
    expression: str


@dataclass(frozen=True)
class NamedModel:
    """A model, what its weights are in words, the Python that makes it, and the images that it was made for."""

    model: nn.Module
    weights: str
    code: Code
    look: Look = field(default_factory=Look)


def load_model(wanted: Wanted, published: str | None = None, *, seed: int = 0) -> NamedModel:
    """A model in evaluation mode by its name, with published weights or, of a seed, random ones."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if wanted.place:
            found = _factory(wanted, published)
        elif wanted.name.startswith("timm:"):
            found = _timm(wanted.name.removeprefix("timm:"), published)
        else:
            found = _torchvision(wanted.name, published)
    found.model.eval().requires_grad_(False)
    return replace(found, weights=found.weights.format(seed=seed))


def _torchvision(name: str, published: str | None) -> NamedModel:
    models = _import_torchvision().models
    names = models.list_models(exclude="quantized_*")
    if name not in names:
        raise ValueError(f"torchvision has no model {name!r}{near(name, names)}.{_elsewhere(name)}")
    options: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        options["weights_backbone"] = None
    if published is None:
        return NamedModel(models.get_model(name, **options), RANDOM, _torchvision_code(name, options))
    known = models.get_model_weights(name)
    if published not in known.__members__:
        raise ValueError(
            f"{name} has no weights {published!r}{near(published, known.__members__)}. A file will do too."
        )
    chosen = known[published]
    options["weights"] = published
    model = _fetch(lambda: models.get_model(name, **options), published, chosen.url)
    return NamedModel(model, f"trained, torchvision's {chosen}", _torchvision_code(name, options))


def _torchvision_code(name: str, options: dict[str, Any]) -> Code:
    given = "".join(f", {key}={value!r}" for key, value in options.items())
    return Code("import torchvision", f"torchvision.models.get_model({name!r}{given})")


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


def _elsewhere(name: str) -> str:
    """Where else a model of that name is, in words."""
    if Path(name).suffix == ".py" or Path(f"{name}.py").is_file():
        file = f"{Path(name).with_suffix('.py')}:FACTORY"
        return f" For a model of your own name its factory as well: {'' if Path(file).is_absolute() else './'}{file}."
    if "timm" not in sys.modules and importlib.util.find_spec("timm") is None:
        return ""
    known = name.split(".")[0] in importlib.import_module("timm").list_models()
    return f" timm has it: timm:{name}" if known else ""


def _timm(name: str, published: str | None) -> NamedModel:
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise ImportError(f"timm cannot be imported ({error}); install it with pip install timm.") from error
    except RuntimeError:
        _import_torchvision()
        raise
    names = timm.list_models()
    if name.split(".")[0] not in names:
        raise ValueError(f"timm has no model {name!r}{near(name, names, prefix='timm:')}.")
    if published not in (None, "DEFAULT"):
        raise ValueError(
            f"--weights for timm is none, DEFAULT or a file, got {published!r}; name other weights after the model, "
            "such as timm:resnet50.a1_in1k --weights DEFAULT."
        )
    config = timm.get_pretrained_cfg(name)
    where = config and (config.url or (config.hf_hub_id and f"https://huggingface.co/{config.hf_hub_id}"))
    model = _fetch(lambda: timm.create_model(name, pretrained=published is not None), published or "", where or "")
    made = getattr(model, "pretrained_cfg", {})
    words = f"trained, timm's {made.get('tag') or 'default'}" if published else RANDOM
    plain = Look()
    look = Look(
        tuple(made.get("input_size", (3, *plain.size))[-2:]),
        tuple(made.get("mean", plain.mean)),
        tuple(made.get("std", plain.std)),
    )
    code = Code("import timm", f"timm.create_model({name!r}, pretrained={published is not None})")
    return NamedModel(model, words, code, look)


def _fetch(create: Callable[[], nn.Module], published: str, url: str) -> nn.Module:
    try:
        return create()
    except (OSError, RuntimeError) as error:
        if not published:
            raise
        file = url.rsplit("/", 1)[-1] if url.rpartition(".")[2] in ("pth", "pt", "bin", "safetensors") else "FILE"
        way = f" Where there is internet, download {url} and pass --weights {file}." if url else ""
        raise WeightsError(
            f"The weights {published} could not be had: {type(error).__name__}: {str(error).rstrip('.')}.{way}"
        ) from error


def _factory(wanted: Wanted, published: str | None) -> NamedModel:
    name = wanted.name
    if published is not None:
        raise ValueError(
            f"--weights {published!r} names no file; {name} takes none or a file with a state dict, or brings its "
            "weights along."
        )
    made = _attribute(_import_own(wanted.place), wanted)
    code = wanted.attribute
    if wanted.arguments is not None or not isinstance(made, nn.Module):
        made = _call(made, wanted)
        code += f"({wanted.arguments or ''})"
    inner = getattr(made, "model", None)
    if not isinstance(made, nn.Module) and isinstance(inner, nn.Module):
        made = inner
        code += ".model"
    if not isinstance(made, nn.Module):
        raise ValueError(f"{name} returned something of type {type(made).__name__}; expected a torch.nn.Module.")
    return NamedModel(made, "as its code left them (seed {seed})", _own_code(wanted, code))


def _own_code(wanted: Wanted, expression: str) -> Code:
    file = Path(wanted.place)
    if file.suffix != ".py":
        return Code(f"import {wanted.place}", f"{wanted.place}.{expression}")
    root = "" if file.parent == Path() else f"import sys\n\nsys.path.insert(0, {str(file.parent)!r})\n"
    return Code(f"{root}import {file.stem}", f"{file.stem}.{expression}")


def _call(made: Any, wanted: Wanted) -> Any:
    name = f"{wanted.place}:{wanted.attribute}"
    if isinstance(made, nn.Module):
        raise ValueError(f"{name} is a model already; expected no arguments.")
    if not callable(made):
        kind = type(made).__name__
        raise ValueError(f"{name} is of type {kind}; expected a torch.nn.Module or a function that returns one.")
    given, named = texts.call_arguments(wanted.arguments or "")
    try:
        return made(*given, **named)
    except Exception as error:
        shown = wanted.name if wanted.arguments is not None else f"{wanted.name}()"
        raise ImportError(f"{shown} failed: {_at_fault(error)}") from error


def _import_own(place: str) -> ModuleType:
    """The module of that name, or of that file."""
    file = Path(place)
    root = file.resolve().parent if file.suffix == ".py" else Path.cwd()
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        return _import_file(file) if file.suffix == ".py" else importlib.import_module(place)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
            raise ValueError(
                f"There is no module {place!r} in {root} or among the installed packages; MODEL is a torchvision "
                "name, timm:NAME, package.module:factory or ./file.py:factory."
            ) from error
        raise ImportError(f"{place} cannot be imported: {_at_fault(error)}") from error


def _import_file(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _attribute(module: ModuleType, wanted: Wanted) -> Any:
    found: Any = module
    for name in wanted.attribute.split("."):
        if not hasattr(found, name):
            raise ValueError(f"{wanted.place} has no {wanted.attribute!r}{near(name, vars(found))}.")
        found = getattr(found, name)
    return found


def _at_fault(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = "" if frame.filename == __file__ else f" ({frame.filename}, line {frame.lineno})"
    return f"{type(error).__name__}: {error}{where}"


def near(name: str, names: Iterable[str], prefix: str = "") -> str:
    """The nearest of the names, as the end of a sentence."""
    public = [other for other in names if not other.startswith("_")]
    close = difflib.get_close_matches(name, public, n=3, cutoff=0.5) or public[:3]
    return f"; the nearest names are {', '.join(prefix + other for other in close)}" if close else ""
