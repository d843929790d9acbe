"""Layers: finding them, running a network up to the deepest of them, and leaving the network as it was."""

from __future__ import annotations

import difflib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.utils._pytree import tree_map

ForwardFunc = Callable[..., Any]


@dataclass(frozen=True)
class Layer:
    """A module of the network, and the name by which results call it."""

    name: str
    module: Module


def find_layers(forward_func: ForwardFunc, layers: Sequence[Module | str]) -> list[Layer]:
    """The modules meant by ``layers``, each a module or a dotted name in ``forward_func``."""
    return [_find_layer(forward_func, layer) for layer in layers]


def _find_layer(forward_func: ForwardFunc, layer: Module | str) -> Layer:
    if isinstance(layer, str):
        return Layer(layer, _module_by_name(forward_func, layer))
    if not isinstance(layer, Module):
        raise TypeError(
            f"layer must be a Module, a dotted name or a list of these, got {type(layer).__name__}."
        )
    root = unwrap(forward_func)
    names = {module: name for name, module in root.named_modules()} if isinstance(root, Module) else {}
    return Layer(names.get(layer) or type(layer).__name__, layer)


def _module_by_name(forward_func: ForwardFunc, name: str) -> Module:
    root = unwrap(forward_func)
    if not isinstance(root, Module):
        raise TypeError(
            f"Layer {name!r} is a name, but forward_func is a {type(forward_func).__name__}, not a Module; "
            "pass the layer's module itself."
        )
    modules = dict(root.named_modules(remove_duplicate=False))
    if name in modules:
        return modules[name]
    near = difflib.get_close_matches(name, modules, n=3, cutoff=0.4) or [n for n in modules if n][:3]
    raise ValueError(
        f"{type(root).__name__} has no layer {name!r}; the nearest names are {', '.join(map(repr, near))}."
    )


def unwrap(forward_func: ForwardFunc) -> ForwardFunc:
    """The network inside DistributedDataParallel and ``torch.compile``: a gradient needs neither."""
    while isinstance(forward_func, DistributedDataParallel) or hasattr(forward_func, "_orig_mod"):
        inner = (
            forward_func.module
            if isinstance(forward_func, DistributedDataParallel)
            else forward_func._orig_mod
        )
        forward_func = inner
    return forward_func


class _LayersReached(BaseException):
    """Ends the forward pass; no ``except Exception`` of the network's own may swallow it."""


@dataclass
class _Recorder:
    """Keeps what the layers hand over; one entry per layer and device."""

    count: int
    stop: bool
    outputs: dict[int, dict[torch.device | None, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, index: int, output: Any) -> None:
        with self.lock:
            complete = len(self.outputs.keys() | {index}) == self.count
            if self.stop and index in self.outputs:
                return
            kept = output if complete and self.stop else tree_map(_clone, output)
            self.outputs.setdefault(index, {})[_device(output)] = kept
        if complete and self.stop:
            raise _LayersReached


def layer_outputs(
    forward_func: ForwardFunc,
    layers: Sequence[Layer],
    inputs: tuple[Any, ...],
    additional_forward_args: tuple[Any, ...] = (),
    *,
    layer_input: bool = False,
    device_ids: Sequence[int] | None = None,
) -> dict[int, Any]:
    """Runs the network until every layer has been called, and returns what each handed over.

    Keys are places in ``layers``, in the order in which the layers ran. Outputs are clones, so that an in-place operation further on cannot change them. With DataParallel or
    ``device_ids`` the pass runs to its end, as in Captum, and the devices' parts are joined in their order.
    """
    parallel = device_ids is not None or isinstance(forward_func, DataParallel)
    recorder = _Recorder(count=len(layers), stop=not parallel)
    with ExitStack() as stack:
        for index, layer in enumerate(layers):
            handle = _register(layer, functools.partial(recorder.keep, index), layer_input)
            stack.callback(handle.remove)
        try:
            stack.enter_context(_eager())
            unwrap(forward_func)(*inputs, *additional_forward_args)
        except _LayersReached:
            pass
    missed = [layer.name for index, layer in enumerate(layers) if index not in recorder.outputs]
    if missed:
        raise RuntimeError(
            f"The forward pass never ran {', '.join(map(repr, missed))}; "
            "choose a layer that this network and these inputs use."
        )
    order = list(device_ids or getattr(forward_func, "device_ids", None) or [])
    return {index: _join(outputs, order) for index, outputs in recorder.outputs.items()}


def _register(layer: Layer, keep: Callable[[Any], None], layer_input: bool) -> Any:
    if isinstance(layer.module, torch.jit.ScriptModule):
        raise TypeError(
            f"Layer {layer.name!r} is TorchScript, which runs no hooks and tells nothing of its units; "
            "pass the eager model that it was scripted from."
        )
    if layer_input:

        def before(_module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = (*args, *kwargs.values())
            keep(given[0] if len(given) == 1 else given)

        return layer.module.register_forward_pre_hook(before, with_kwargs=True)

    def after(_module: Module, _args: tuple[Any, ...], output: Any) -> None:
        keep(output)

    return layer.module.register_forward_hook(after)


def _clone(item: Any) -> Any:
    return item.clone() if isinstance(item, Tensor) else item


def _device(output: Any) -> torch.device | None:
    first = output
    while isinstance(first, (tuple, list)) and first:
        first = first[0]
    return first.device if isinstance(first, Tensor) else None


def _join(outputs: dict[torch.device | None, Any], device_ids: list[int]) -> Any:
    parts = list(outputs.items())
    if len(parts) == 1:
        return parts[0][1]
    parts.sort(key=lambda part: device_ids.index(part[0].index) if part[0] is not None else 0)
    first = parts[0][0]
    return tree_map(
        lambda *items: torch.cat([item.to(first) for item in items]), *(part for _, part in parts)
    )


@contextmanager
def _eager() -> Iterator[None]:
    """Compiled code would skip the hooks."""
    set_stance = getattr(torch.compiler, "set_stance", None)
    if set_stance is None:
        yield
        return
    with set_stance("force_eager"):
        yield


def all_modules(forward_func: ForwardFunc, layers: Sequence[Layer]) -> list[Module]:
    """Every module that a forward pass can touch, as far as ``forward_func`` shows them.

    A bound method shows its object, ``functools.partial`` its function, a function the modules it refers to.
    """
    found: dict[Module, None] = {}
    for root in [*_roots(forward_func), *(layer.module for layer in layers)]:
        found.update(dict.fromkeys(root.modules()))
    return list(found)


def _roots(forward_func: ForwardFunc) -> list[Module]:
    if isinstance(forward_func, functools.partial):
        return _roots(forward_func.func)
    if isinstance(forward_func, Module):
        return [forward_func]
    if inspect.ismethod(forward_func):
        return [forward_func.__self__] if isinstance(forward_func.__self__, Module) else []
    if not inspect.isfunction(forward_func):
        return []
    names = inspect.getclosurevars(forward_func)
    return [
        value for value in (*names.nonlocals.values(), *names.globals.values()) if isinstance(value, Module)
    ]


@contextmanager
def unchanged(modules: Sequence[Module], *, eval_mode: bool) -> Iterator[None]:
    """Gives every module its training flag and its buffers back, whatever happens inside.

    Flags are set one by one: ``Module.eval`` may be overridden to do more than that.
    """
    flags = [module.training for module in modules]
    buffers = [
        (module, name, buffer, buffer.detach().clone(), buffer._version)
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None and not buffer.is_inference()
    ]
    try:
        if eval_mode:
            for module in modules:
                module.training = False
        yield
    finally:
        for module, flag in zip(modules, flags, strict=True):
            module.training = flag
        for module, name, buffer, value, version in buffers:
            module._buffers[name] = buffer
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(value)


def model_device(modules: Sequence[Module]) -> torch.device | None:
    """The device of the first parameter or buffer, None where there is none."""
    for module in modules:
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                return tensor.device
    return None


def mixes_samples(modules: Sequence[Module]) -> list[str]:
    """Names of the kinds of normalisation that would mix the samples of a batch as they stand."""
    norms = torch.nn.modules.batchnorm._BatchNorm
    return sorted({type(m).__name__ for m in modules if isinstance(m, norms) and _uses_batch(m)})


def _uses_batch(norm: Any) -> bool:
    return bool(norm.training or (norm.running_mean is None and norm.running_var is None))


def layer_shapes(model: Module, inputs: Tensor) -> dict[str, tuple[int, ...] | None]:
    """Shapes of what the modules hand over, in the order in which they finish; None for what is no tensor.

    Modules that do not run are left out. The whole network runs, in eval mode.
    """
    shapes: dict[str, tuple[int, ...] | None] = {}

    def note(name: str, _module: Module, _args: Any, output: Any) -> None:
        shapes.pop(name, None)
        shapes[name] = tuple(output.shape) if isinstance(output, Tensor) else None

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_hook(functools.partial(note, name)).remove)
        stack.enter_context(unchanged(list(model.modules()), eval_mode=True))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_eager())
        model(inputs)
    return shapes
