"""Layers: finding them, and leaving the network as it was."""

from __future__ import annotations

import difflib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import UninitializedParameter

ForwardFunc = Callable[..., Any]


@dataclass(eq=False)
class Layer:
    """A module of the network, the name by which results call it, and which of its calls in a forward pass is read.

    ``call`` is what was asked for. ``which`` counts from the first call on, and is None until the network has run;
    ``is_channels_first`` and ``has_sum`` are False until its output has shown that it can be read so, and summed.
    """

    name: str
    module: Module
    call: int | None = None
    which: int | None = None
    is_channels_first: bool = False
    has_sum: bool = False


def find_layers(forward_func: ForwardFunc, layers: Sequence[Module | str], call: int | None = None) -> list[Layer]:
    """The modules meant by ``layers``, each a module or a dotted name in ``forward_func``."""
    if call is not None and (isinstance(call, bool) or not isinstance(call, int)):
        raise TypeError(f"call must be an int (0 for a layer's first call, -1 for its last) or None, got {call!r}.")
    found = [_find_layer(forward_func, layer) for layer in layers]
    for name, module in found:
        _check_eager(f"Layer {name!r}", module)
        if ".quantized." in type(module).__module__:
            raise quantised(name)
    _check_eager("The network", unwrap(forward_func))
    chosen = [Layer(name, module, call) for name, module in found]
    for module in all_modules(forward_func, chosen):
        if any(isinstance(parameter, UninitializedParameter) for parameter in module._parameters.values()):
            kind = type(module).__name__
            raise ValueError(f"{kind} has no parameters yet; run the network once on a batch, which makes them.")
    return chosen


def _check_eager(name: str, module: Any) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            f"{name} is TorchScript, which runs no hooks and tells nothing of its units; "
            "pass the eager model that it was scripted from."
        )


def quantised(layer: str) -> TypeError:
    """The error for a layer of whole numbers."""
    return TypeError(
        f"Layer {layer!r} is quantised, and whole numbers have no gradient; pass the float model that it was made from."
    )


def _find_layer(forward_func: ForwardFunc, layer: Module | str) -> tuple[str, Module]:
    if isinstance(layer, str):
        return layer, _module_by_name(forward_func, layer)
    if not isinstance(layer, Module):
        raise TypeError(f"layer must be a Module, a dotted name or a list of these, got {type(layer).__name__}.")
    root = unwrap(forward_func)
    names = {module: name for name, module in root.named_modules()} if isinstance(root, Module) else {}
    return names.get(layer) or type(layer).__name__, layer


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


def unwrap(forward_func: ForwardFunc) -> ForwardFunc:
    """The network inside DistributedDataParallel and ``torch.compile``: a gradient needs neither."""
    while isinstance(forward_func, DistributedDataParallel) or hasattr(forward_func, "_orig_mod"):
        inner = forward_func.module if isinstance(forward_func, DistributedDataParallel) else forward_func._orig_mod
        forward_func = inner
    return forward_func


def batch_size(arguments: Sequence[Any]) -> int:
    """Number of samples in the first tensor."""
    return next((len(item) for item in arguments if isinstance(item, Tensor) and item.ndim > 0), 1)


@contextmanager
def eager() -> Iterator[None]:
    """Compiled code would skip the hooks."""
    set_stance = getattr(torch.compiler, "set_stance", None)
    if set_stance is None:
        yield
        return
    with set_stance("force_eager"):
        yield


def all_modules(forward_func: ForwardFunc, layers: Sequence[Layer]) -> list[Module]:
    """Every module that a forward pass can touch, as far as ``forward_func`` shows them.

    A bound method shows its object, ``functools.partial`` its function and arguments, a function the modules it
    refers to, any other callable the modules it holds.
    """
    found: dict[Module, None] = {}
    for root in [*_roots(forward_func), *(layer.module for layer in layers)]:
        _collect(root, found)
    return list(found)


def _collect(module: Module, found: dict[Module, None]) -> None:
    """Adds a module and all inside it; ``Module.modules`` also makes their names, which takes longer than a crop."""
    if module in found:
        return
    found[module] = None
    for child in module._modules.values():
        if child is not None:
            _collect(child, found)


def _roots(thing: Any) -> list[Module]:
    if isinstance(thing, Module):
        return [thing]
    if isinstance(thing, functools.partial):
        parts = (thing.func, *thing.args, *thing.keywords.values())
        return [root for part in parts for root in _roots(part)]
    if inspect.ismethod(thing):
        return _roots(thing.__self__)
    held = _variables(thing) if inspect.isfunction(thing) else list(getattr(thing, "__dict__", {}).values())
    return [value for value in held if isinstance(value, Module)]


def _variables(function: FunctionType) -> list[Any]:
    """What a function refers to outside itself."""
    try:
        names = inspect.getclosurevars(function)
    except ValueError:  # a variable that is not set yet
        return []
    return [*names.nonlocals.values(), *names.globals.values()]


@contextmanager
def unchanged(modules: Sequence[Module], *, eval_mode: bool) -> Iterator[None]:
    """Gives every module its training flag and its buffers back, whatever happens inside.

    So for modules that are first seen when they run, such as those in a list or behind an object that a function holds.
    Flags are set one by one: ``Module.eval`` may be overridden to do more than that.
    """
    known: dict[Module, None] = {}
    kept: list[_Kept] = []

    def keep(found: Iterable[Module]) -> None:
        for module in found:
            if module._buffers or module.training:
                kept.append(_Kept(module, eval_mode))
                if eval_mode and module.training:
                    module.training = False

    def meet(module: Module, _: Any) -> None:
        if module not in known:
            before = len(known)
            _collect(module, known)
            keep(list(known)[before:])

    try:
        known.update(dict.fromkeys(modules))
        keep(modules)
        with register_module_forward_pre_hook(meet), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*when there are global hooks on modules")
            yield
    finally:
        for state in kept:
            state.restore()


class _Kept:
    """A module's training flag and buffers as they were; batch norm in evaluation mode writes none."""

    def __init__(self, module: Module, eval_mode: bool) -> None:
        self.module, self.training = module, module.training
        self.buffers: dict[str, Tensor | None] = dict(module._buffers.items())
        is_norm = isinstance(module, _BatchNorm) and type(module).forward is _BatchNorm.forward
        reads_only = is_norm and (eval_mode or not module.training)
        self.values = {
            name: (buffer.detach().clone(), buffer._version)
            for name, buffer in self.buffers.items()
            if buffer is not None and not buffer.is_inference() and not reads_only
        }

    def restore(self) -> None:
        # Batch norm in training mode writes its running statistics without a new version.
        silent = self.module.training
        if silent != self.training:
            self.module.training = self.training
        for name, buffer in self.buffers.items():
            self.module._buffers[name] = buffer
        for name, (value, version) in self.values.items():
            buffer = self.buffers[name]
            assert buffer is not None
            if buffer._version != version or (silent and not torch.equal(buffer, value)):
                with torch.no_grad():
                    buffer.copy_(value)


@contextmanager
def same_attributes(modules: Sequence[Module]) -> Iterator[None]:
    """Gives every module the attributes back that a pass sets, such as masks and window sizes fitted to its input."""
    eager_modules = [module for module in modules if not isinstance(module, torch.jit.ScriptModule)]
    kept = [(vars(module), dict(vars(module))) for module in eager_modules]
    try:
        yield
    finally:
        for attributes, before in kept:
            for name in attributes.keys() - before.keys():
                del attributes[name]
            attributes.update(before)


@contextmanager
def aside(modules: Sequence[Module], device: torch.device | None) -> Iterator[None]:
    """For a look at the network on the side: eval mode, no gradients, random state and warnings left alone."""
    with ExitStack() as stack:
        stack.enter_context(unchanged(modules, eval_mode=True))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(eager())
        stack.enter_context(torch.random.fork_rng([device] if device is not None and device.type == "cuda" else []))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


def is_batch(item: Any, count: int) -> bool:
    """Whether an argument of the network holds ``count`` samples."""
    return isinstance(item, Tensor) and item.ndim > 0 and len(item) == count


def first_sample(item: Any, count: int) -> Any:
    """A batch of one from a batch of ``count``, the network's to change; what is no batch stays as it is."""
    return item[:1].detach().clone() if is_batch(item, count) else item


def model_device(modules: Sequence[Module]) -> torch.device | None:
    """The device of the first parameter or buffer, None where there is none."""
    for module in modules:
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                return tensor.device
    return None


def mixes_samples(modules: Sequence[Module]) -> list[str]:
    """Names of the kinds of normalisation that would mix the samples of a batch as they stand."""
    return sorted({type(m).__name__ for m in modules if isinstance(m, _BatchNorm) and _uses_batch(m)})


def _uses_batch(norm: Any) -> bool:
    return bool(norm.training or (norm.running_mean is None and norm.running_var is None))
