"""Checkpoints as people have them: nested, with prefixes, with another head; fitted to a model as far as it matters."""

from __future__ import annotations

import argparse
import contextlib
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from .layers import left_alone, noise
from .models import WeightsError

NESTED = ("state_dict", "model", "model_state_dict", "model_ema", "ema", "teacher", "student", "module")
PREFIXES = ("module.", "model.", "_orig_mod.", "backbone.", "encoder.")
DEEPEST = 3  # prefixes before a name, and dictionaries around the weights
SHOWN = 5  # misfits that a message names

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Misfit:
    """A tensor of the model's that the file has not, or has in another shape."""

    name: str
    shape: tuple[int, ...]
    found: str

    def __str__(self) -> str:
        return f"{self.name} {self.shape}, {self.found}"


def read_weights(model: nn.Module, file: str | Path, layers: Sequence[nn.Module], shape: Sequence[int]) -> str | None:
    """
    Loads a file's weights, of ``torch.save`` or safetensors, into a model, and tells in words what was left out.

    What the measured ``layers`` do not depend on, for an input ``(C, *size)``, need not fit; else a WeightsError.
    """
    file = Path(file)
    state = max(_candidates(_load(file), file), key=lambda found: len(_fitting(model, found)))
    fitting = _fitting(model, state)
    misfits = _misfits(model, state, fitting)
    strangers = sorted(set(state) - set(model.state_dict()))
    if misfits or strangers:
        behind = _behind(model, layers, shape)
        _refuse(file, [misfit for misfit in misfits if misfit.name not in behind], _inside(model, strangers, behind))
    model.load_state_dict(fitting, strict=False)
    broken = [name for name, weight in model.named_parameters() if weight.isnan().any()]
    if broken:
        raise WeightsError(
            f"{file} holds NaN in {len(broken)} weights ({', '.join(broken[:SHOWN])}, ...); take those of an earlier "
            "epoch."
        )
    return _left_out(file, misfits, strangers)


def _load(file: Path) -> Any:
    if file.suffix == ".safetensors":
        return _load_safetensors(file)
    try:
        with _readable(argparse.Namespace):  # a training script's options, as MAE's and DINO's checkpoints hold them
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{file} holds no weights that can be read without pickle. Where you trust it, read it in Python with "
            "torch.load(path, weights_only=False) and save the state dict alone: torch.save(model.state_dict(), path)."
        ) from error


@contextlib.contextmanager
def _readable(kind: type) -> Iterator[None]:
    """Lets files hold objects of a kind; ``torch.serialization.safe_globals``, which torch 2.4 does not have."""
    was_readable = kind in get_safe_globals()
    add_safe_globals([kind])
    try:
        yield
    finally:
        if not was_readable:
            others = [item for item in get_safe_globals() if item is not kind]
            clear_safe_globals()
            add_safe_globals(others)


def _load_safetensors(file: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise WeightsError(f"{file} needs safetensors; install it with pip install safetensors.") from error
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} is no safetensors file, or a damaged one: {error}.") from error


def _candidates(content: Any, file: Path) -> list[State]:
    """Everything in a checkpoint that may be the state dict, with and without prefixes before its names."""
    found = [stripped for state in _states(content) for stripped in _stripped(state)]
    if not found:
        raise WeightsError(
            f"{file} holds a {type(content).__name__}; expected a state dict of names and tensors, as "
            "model.state_dict() gives."
        )
    return found


def _states(content: Any, depth: int = 0) -> Iterator[State]:
    if not isinstance(content, Mapping) or depth > DEEPEST:
        return
    state = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if state:
        yield state
    for key in NESTED:
        yield from _states(content.get(key), depth + 1)


def _stripped(state: State, depth: int = 0) -> Iterator[State]:
    yield state
    if depth == DEEPEST:
        return
    for prefix in PREFIXES:
        inner = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if inner:
            yield from _stripped(inner, depth + 1)


def _fitting(model: nn.Module, state: State) -> dict[str, Tensor]:
    return {name: state[name] for name, own in model.state_dict().items() if _fits(own, state.get(name))}


def _fits(own: Any, other: Tensor | None) -> bool:
    return isinstance(own, Tensor) and other is not None and own.shape == other.shape


def _misfits(model: nn.Module, state: State, fitting: State) -> list[Misfit]:
    free = sorted(set(state) - set(model.state_dict()))
    return [
        Misfit(name, tuple(own.shape), _what_is_there(name, state, free))
        for name, own in model.state_dict().items()
        if name not in fitting and isinstance(own, Tensor) and not name.endswith("num_batches_tracked")
    ]


def _what_is_there(name: str, state: State, free: Sequence[str]) -> str:
    if name in state:
        return f"in the file {tuple(state[name].shape)}"
    near = difflib.get_close_matches(name, free, n=1, cutoff=0.6)
    return f"not in the file (nearest: {near[0]})" if near else "not in the file"


def _behind(model: nn.Module, layers: Sequence[nn.Module], shape: Sequence[int]) -> set[str]:
    """Names of the weights and buffers that the layers do not depend on: no gradient of theirs reaches them."""
    weights = dict(model.named_parameters())
    reached = _reached(model, layers, shape, weights)
    owners = {name.rpartition(".")[0] for name in reached}
    weightless = {name for name, module in model.named_modules() if not module._parameters}
    buffers = {name for name, _ in model.named_buffers()}
    needed = {name for name in buffers if name.rpartition(".")[0] in owners | weightless}
    return (weights.keys() - reached) | (buffers - needed)


def _reached(
    model: nn.Module, layers: Sequence[nn.Module], shape: Sequence[int], weights: Mapping[str, nn.Parameter]
) -> set[str]:
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _arguments: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs.append(output)

    with left_alone(model), torch.enable_grad():
        model.requires_grad_(True)
        for layer in layers:
            layer.register_forward_hook(keep)
        model(noise(model, shape))
        total = torch.stack([output.square().sum() for output in outputs]).sum()
        gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    return {name for name, gradient in zip(weights, gradients, strict=True) if gradient is not None}


def _inside(model: nn.Module, strangers: Sequence[str], behind: set[str]) -> list[str]:
    """Those of the file's further names that stand among the model's measured modules, so that the model is another."""
    needed = {name for name in model.state_dict() if name not in behind}
    modules = {name.rsplit(".", depth)[0] for name in needed for depth in range(1, name.count(".") + 1)}
    return [name for name in strangers if name.rpartition(".")[0] and name.split(".")[0] in modules]


def _refuse(file: Path, misfits: Sequence[Misfit], strangers: Sequence[str]) -> None:
    if misfits:
        raise WeightsError(
            f"{file} does not fit: {len(misfits)} of the weights before the measured layer, such as "
            f"{'; '.join(map(str, misfits[:SHOWN]))}. Is it of this model, with these arguments?"
        )
    if strangers:
        raise WeightsError(
            f"{file} does not fit: it holds {len(strangers)} weights that the model has not, such as "
            f"{', '.join(strangers[:SHOWN])}. Is it of this model, with these arguments?"
        )


def _left_out(file: Path, misfits: Sequence[Misfit], strangers: Sequence[str]) -> str | None:
    parts = []
    if misfits:
        parts.append(f"{_some([misfit.name for misfit in misfits])} of the model stay random")
    if strangers:
        parts.append(f"{_some(strangers)} of the file are not used")
    return f"{file}: {', '.join(parts)}; the measured layers do not depend on them" if parts else None


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
