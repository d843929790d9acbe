"""Layers: finding the modules that are meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import Module
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import UninitializedParameter

from .reach import reachable

ForwardFunc = Callable[..., Any]
EXPORTED = ("ExportedProgram", "_StatefulGraphModule")  # classes of torch.export, which nothing here imports


@dataclass(frozen=True)
class Layer:
    """
    A module of the network, the name by which results call it, and which of its calls in a forward pass is read.

    Calls count from 0, from the end where negative; None is for a layer that is called once. ``is_steady`` tells that
    nothing in the network was seen to change what the layer hands over, in place.
    """

    name: str
    module: Module
    call: int | None = None
    is_steady: bool = False


def find_layers(forward_func: ForwardFunc, layers: Sequence[Module | str], call: int | None = None) -> list[Layer]:
    """The layers meant by ``layers``, each a module or a dotted name in ``forward_func``."""
    if call is not None and (isinstance(call, bool) or not isinstance(call, int)):
        raise TypeError(f"call must be an int (0 for a layer's first call, -1 for its last) or None, got {call!r}.")
    _check_eager("The network", unwrap(forward_func))
    found = [_find_layer(forward_func, layer, call) for layer in layers]
    for layer in found:
        _check_eager(f"Layer {layer.name!r}", layer.module)
        if ".quantized." in type(layer.module).__module__:
            raise quantised(layer.name)
    for module in reachable([forward_func, *(layer.module for layer in found)]):
        if any(isinstance(parameter, UninitializedParameter) for parameter in module._parameters.values()):
            kind = type(module).__name__
            raise ValueError(f"{kind} has no parameters yet; run the network once on a batch, which makes them.")
        if any(parameter is not None and parameter.is_meta for parameter in module._parameters.values()):
            raise ValueError(
                f"{type(module).__name__} is on the meta device, where weights have no values; make the network on a "
                "real one, or call to_empty(device=...) and load its weights."
            )
    return found


def unwrap(forward_func: ForwardFunc) -> ForwardFunc:
    """The network inside DistributedDataParallel and ``torch.compile``: a gradient needs neither."""
    while isinstance(forward_func, DistributedDataParallel) or hasattr(forward_func, "_orig_mod"):
        inner = forward_func.module if isinstance(forward_func, DistributedDataParallel) else forward_func._orig_mod
        forward_func = inner
    return forward_func


def quantised(layer: str) -> TypeError:
    """The error for a layer of whole numbers."""
    return TypeError(
        f"Layer {layer!r} is quantised, and whole numbers have no gradient; pass the float model that it was made from."
    )


def _check_eager(name: str, module: Any) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            f"{name} is TorchScript, which runs no hooks and tells nothing of its units; "
            "pass the eager model that it was scripted from."
        )
    if any(kind.__name__ in EXPORTED for kind in type(module).__mro__):
        raise TypeError(
            f"{name} comes from torch.export, whose code runs none of the layers; pass the model that it was exported "
            "from."
        )


def _find_layer(forward_func: ForwardFunc, layer: Module | str, call: int | None) -> Layer:
    if isinstance(layer, str):
        return Layer(layer, _module_by_name(forward_func, layer), call)
    if not isinstance(layer, Module):
        raise TypeError(f"layer must be a Module, a dotted name or a list of these, got {type(layer).__name__}.")
    root = unwrap(forward_func)
    names = {module: name for name, module in root.named_modules()} if isinstance(root, Module) else {}
    return Layer(names.get(layer) or type(layer).__name__, layer, call)


def _module_by_name(forward_func: ForwardFunc, name: str) -> Module:
    root = unwrap(forward_func)
    if not isinstance(root, Module):
        raise TypeError(
            f"Layer {name!r} is a name, but forward_func is a {type(forward_func).__name__}, not a Module; "
            "pass the layer's module itself."
        )
    inner = root.module if isinstance(root, DataParallel) else root
    modules: dict[str, Module] = dict(inner.named_modules(remove_duplicate=False))
    modules |= dict(forward_func.named_modules(remove_duplicate=False)) if isinstance(forward_func, Module) else {}
    if name in modules:
        return modules[name]
    near = difflib.get_close_matches(name, modules, n=3, cutoff=0.4) or [n for n in modules if n][:3]
    raise ValueError(
        f"{type(inner).__name__} has no layer {name!r}; the nearest names are {', '.join(map(repr, near))}."
    )
