"""Layers: finding them, running a network up to the deepest of them, and leaving the network as it was."""

from __future__ import annotations

import difflib
import functools
import inspect
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.utils._pytree import tree_map

from .calls import scope_of_calls

ForwardFunc = Callable[..., Any]


@dataclass(eq=False)
class Layer:
    """A module of the network, the name by which results call it, and which of its calls in a forward pass is read.

    ``call`` is what was asked for. ``which`` counts from the first call on, and is None until the network has run;
    ``is_channels_first`` is False until its output's shape, or a run, has shown it.
    """

    name: str
    module: Module
    call: int | None = None
    which: int | None = None
    is_channels_first: bool = False


def find_layers(forward_func: ForwardFunc, layers: Sequence[Module | str], call: int | None = None) -> list[Layer]:
    """The modules meant by ``layers``, each a module or a dotted name in ``forward_func``."""
    if call is not None and (isinstance(call, bool) or not isinstance(call, int)):
        raise TypeError(f"call must be an int (0 for a layer's first call, -1 for its last) or None, got {call!r}.")
    found = [_find_layer(forward_func, layer) for layer in layers]
    for name, module in found:
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(
                f"Layer {name!r} is TorchScript, which runs no hooks and tells nothing of its units; "
                "pass the eager model that it was scripted from."
            )
    return [Layer(name, module, call) for name, module in found]


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
    modules: dict[str, Module] = dict(root.named_modules(remove_duplicate=False))
    if isinstance(forward_func, Module):
        modules = dict(forward_func.named_modules(remove_duplicate=False)) | modules
    if name in modules:
        return modules[name]
    near = difflib.get_close_matches(name, modules, n=3, cutoff=0.4) or [n for n in modules if n][:3]
    raise ValueError(
        f"{type(root).__name__} has no layer {name!r}; the nearest names are {', '.join(map(repr, near))}."
    )


def unwrap(forward_func: ForwardFunc) -> ForwardFunc:
    """The network inside DistributedDataParallel and ``torch.compile``: a gradient needs neither."""
    while isinstance(forward_func, DistributedDataParallel) or hasattr(forward_func, "_orig_mod"):
        inner = forward_func.module if isinstance(forward_func, DistributedDataParallel) else forward_func._orig_mod
        forward_func = inner
    return forward_func


class _LayersReached(BaseException):
    """Ends the forward pass; no ``except Exception`` of the network's own may swallow it."""


@dataclass
class _Recorder:
    """Keeps what the layers hand over in the calls that are asked for; one entry per layer and device."""

    layers: Sequence[Layer]
    stop: bool
    outputs: dict[int, dict[torch.device | None, Any]] = field(default_factory=dict)
    counts: Counter[tuple[int, torch.device | None]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, index: int, output: Any) -> None:
        device = _device(output)
        with self.lock:
            self.counts[index, device] += 1
            if self.counts[index, device] != (self.layers[index].which or 0) + 1:
                return
            complete = len(self.outputs.keys() | {index}) == len(self.layers)
            kept = output if complete and self.stop else tree_map(_clone, output)
            self.outputs.setdefault(index, {})[device] = kept
        if complete and self.stop:
            raise _LayersReached

    def check_complete(self) -> None:
        """Refuses layers whose call never came."""
        for index, layer in enumerate(self.layers):
            if index in self.outputs:
                continue
            count = max((count for (place, _), count in self.counts.items() if place == index), default=0)
            if count:
                raise ValueError(_no_such_call(layer, count))
            raise RuntimeError(
                f"The forward pass never ran layer {layer.name!r}; choose one that this network and these inputs use, "
                "such as the module around it."
            )


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

    Keys are places in ``layers``, in the order in which the layers ran. Outputs are clones, so that an in-place
    operation further on cannot change them. With DataParallel or ``device_ids`` the pass runs to its end, as in
    Captum, and the devices' parts are joined in their order.

    Raises:
        ValueError: A layer is called several times and nothing says which call is meant, or there is no such call.
        RuntimeError: A layer is never called.
    """
    if any(layer.which is None for layer in layers):
        _choose_calls(forward_func, layers, (*inputs, *additional_forward_args))
    parallel = device_ids is not None or isinstance(forward_func, DataParallel)
    recorder = _Recorder(layers, stop=not parallel)
    with ExitStack() as stack:
        for index, layer in enumerate(layers):
            handle = _register(layer, functools.partial(recorder.keep, index), layer_input)
            stack.callback(handle.remove)
        try:
            stack.enter_context(_eager())
            unwrap(forward_func)(*inputs, *additional_forward_args)
        except _LayersReached:
            pass
    recorder.check_complete()
    order = list(device_ids or getattr(forward_func, "device_ids", None) or [])
    return {index: _join(outputs, order) for index, outputs in recorder.outputs.items()}


def _choose_calls(forward_func: ForwardFunc, layers: Sequence[Layer], arguments: tuple[Any, ...]) -> None:
    """Settles which call of each layer is meant; refuses where that is not clear."""
    if all(layer.call is not None and layer.call >= 0 for layer in layers):
        counts = dict.fromkeys(layers, 0)
    else:
        counts = _count_calls(forward_func, layers, arguments)
    for layer, count in counts.items():
        if layer.call is None and count > 1:
            raise ValueError(
                f"Layer {layer.name!r} is called {count} times in one forward pass. Say which call is meant: call=0 "
                "for the first, call=1 for the second, ... call=-1 for the last (what Captum's NeuronGradient reads)."
            )
        which = layer.call or 0
        if which < -max(count, 1):
            raise ValueError(_no_such_call(layer, count))
        layer.which = which if which >= 0 else which + max(count, 1)


def _no_such_call(layer: Layer, count: int) -> str:
    return f"Layer {layer.name!r} has no call={layer.call}: it is called {count} time(s) in one forward pass."


def _count_calls(forward_func: ForwardFunc, layers: Sequence[Layer], arguments: tuple[Any, ...]) -> dict[Layer, int]:
    """How often each layer is called; one sample is run as far as the code around the layers leaves that open.

    What fails after a layer does not matter here, and what fails before it is seen when the layer is measured.
    """
    network = unwrap(forward_func)
    network = network.module if isinstance(network, DataParallel) else network
    scopes = {layer: scope_of_calls(network, layer.module) for layer in layers if isinstance(network, Module)}
    if all(scopes.get(layer) is layer.module for layer in layers):
        return dict.fromkeys(layers, 1)
    counts: Counter[Module] = Counter()
    waiting: set[Module | None] = {scopes.get(layer) for layer in layers} - {layer.module for layer in layers}

    def count(module: Module, *_: Any) -> None:
        counts[module] += 1

    def close(scope: Module, *_: Any) -> None:
        waiting.discard(scope)
        if not waiting:
            raise _LayersReached

    with ExitStack() as stack:
        for module in {layer.module for layer in layers}:
            stack.callback(module.register_forward_hook(count).remove)
        for scope in waiting:
            if scope is not None:
                stack.callback(scope.register_forward_hook(close).remove)
        modules = all_modules(forward_func, layers)
        stack.enter_context(aside(modules, model_device(modules)))
        with suppress(_LayersReached, Exception):
            network(*(first_sample(item, batch_size(arguments)) for item in arguments))
    return {layer: counts[layer.module] for layer in layers}


def batch_size(arguments: Sequence[Any]) -> int:
    """Number of samples in the first tensor."""
    return next((len(item) for item in arguments if isinstance(item, Tensor) and item.ndim > 0), 1)


def _register(layer: Layer, keep: Callable[[Any], None], layer_input: bool) -> Any:
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
    return tree_map(lambda *items: torch.cat([item.to(first) for item in items]), *(part for _, part in parts))


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

    A bound method shows its object, ``functools.partial`` its function and arguments, a function the modules it
    refers to, any other callable the modules it holds.
    """
    found: dict[Module, None] = {}
    for root in [*_roots(forward_func), *(layer.module for layer in layers)]:
        found.update(dict.fromkeys(root.modules()))
    return list(found)


def _roots(thing: Any) -> list[Module]:
    if isinstance(thing, Module):
        return [thing]
    if isinstance(thing, functools.partial):
        parts = (thing.func, *thing.args, *thing.keywords.values())
        return [root for part in parts for root in _roots(part)]
    if inspect.ismethod(thing):
        return _roots(thing.__self__)
    if inspect.isfunction(thing):
        names = inspect.getclosurevars(thing)
        held = [*names.nonlocals.values(), *names.globals.values()]
    else:
        held = list(getattr(thing, "__dict__", {}).values())
    return [value for value in held if isinstance(value, Module)]


@contextmanager
def unchanged(modules: Sequence[Module], *, eval_mode: bool) -> Iterator[None]:
    """Gives every module its training flag and its buffers back, whatever happens inside.

    Flags are set one by one: ``Module.eval`` may be overridden to do more than that.
    """
    kept = [_Kept(module) for module in modules]
    try:
        if eval_mode:
            for module in modules:
                module.training = False
        yield
    finally:
        for state in kept:
            state.restore()


class _Kept:
    """A module's training flag and buffers as they were."""

    def __init__(self, module: Module) -> None:
        self.module, self.training, self.buffers = module, module.training, dict(module._buffers)
        self.values = {
            name: (buffer.detach().clone(), buffer._version)
            for name, buffer in self.buffers.items()
            if buffer is not None and not buffer.is_inference()
        }

    def restore(self) -> None:
        # Batch norm in training mode writes its running statistics without a new version.
        silent = self.module.training
        self.module.training = self.training
        self.module._buffers.update(self.buffers)
        for name, (value, version) in self.values.items():
            buffer = self.module._buffers[name]
            assert buffer is not None
            if buffer._version != version or (silent and not torch.equal(buffer, value)):
                with torch.no_grad():
                    buffer.copy_(value)


@contextmanager
def aside(modules: Sequence[Module], device: torch.device | None) -> Iterator[None]:
    """For a look at the network on the side: eval mode, no gradients, random state and warnings left alone."""
    with ExitStack() as stack:
        stack.enter_context(unchanged(modules, eval_mode=True))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_eager())
        stack.enter_context(torch.random.fork_rng([device] if device is not None and device.type == "cuda" else []))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


def first_sample(item: Any, count: int) -> Any:
    """A batch of one from a batch of ``count``, the network's to change; what is no batch stays as it is."""
    batched = isinstance(item, Tensor) and item.ndim > 0 and len(item) == count
    return item[:1].detach().clone() if batched else item


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
