"""Passes: running a network up to the deepest of its layers, and what the layers hand over on the way."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.parallel import DataParallel
from torch.utils._pytree import tree_map

from .calls import scope_of_calls
from .layers import (
    ForwardFunc,
    Layer,
    all_modules,
    aside,
    batch_size,
    eager,
    first_sample,
    model_device,
    quantised,
    same_attributes,
    unchanged,
    unwrap,
)


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

    Keys are places in ``layers``, in the order in which the layers ran. The network gets copies of the inputs, which it
    may change; images go channels-last, in which convolutions run faster, where the network can. Outputs are clones, so
    that an in-place operation further on cannot change them. With DataParallel or ``device_ids`` the pass runs to its
    end, as in Captum, and the devices' parts are joined in their order.

    Raises:
        ValueError: A layer is called several times and nothing says which call is meant, or there is no such call.
        RuntimeError: A layer is never called.
        TypeError: A layer's output is quantised.
    """
    if any(layer.which is None for layer in layers):
        _choose_calls(forward_func, layers, (*inputs, *additional_forward_args))
    parallel = device_ids is not None or isinstance(forward_func, DataParallel)

    def run(image_format: torch.memory_format) -> _Recorder:
        copies = tuple(_copy(item, image_format) for item in inputs)
        return _recorded(forward_func, layers, (*copies, *additional_forward_args), layer_input, parallel)

    try:
        recorder = run(torch.channels_last)
    except RuntimeError as error:
        if "contiguous" not in str(error):
            raise
        recorder = run(torch.contiguous_format)
    recorder.check_complete()
    for index, outputs in recorder.outputs.items():
        if any(isinstance(output, Tensor) and output.is_quantized for output in outputs.values()):
            raise quantised(layers[index].name)
    order = list(device_ids or getattr(forward_func, "device_ids", None) or [])
    return {index: _join(outputs, order) for index, outputs in recorder.outputs.items()}


def _copy(item: Any, image_format: torch.memory_format) -> Any:
    if not isinstance(item, Tensor):
        return item
    return item.clone(memory_format=image_format if item.ndim == 4 else torch.preserve_format)


def _recorded(
    forward_func: ForwardFunc, layers: Sequence[Layer], arguments: tuple[Any, ...], layer_input: bool, parallel: bool
) -> _Recorder:
    recorder = _Recorder(layers, stop=not parallel)
    modules = all_modules(forward_func, layers)
    with ExitStack() as stack:
        stack.enter_context(same_attributes(modules))
        for index, layer in enumerate(layers):
            handle = _register(layer, functools.partial(recorder.keep, index), layer_input)
            stack.callback(handle.remove)
        try:
            stack.enter_context(eager())
            unwrap(forward_func)(*arguments)
        except _LayersReached:
            pass
        except RuntimeError as error:
            reason = _reason(arguments, modules)
            if reason:
                raise type(error)(f"{reason} The network says: {error}") from error
            raise
    return recorder


def _reason(arguments: tuple[Any, ...], modules: Sequence[Module]) -> str:
    """What is likely to be wrong where the network does not run."""
    parameters = [item for module in modules for item in module._parameters.values() if item is not None]
    if torch.is_grad_enabled() and any(parameter.is_inference() for parameter in parameters):
        return (
            "The network's parameters are inference tensors, with which autograd cannot work: it was made under "
            "torch.inference_mode(). Make it outside, or take copy.deepcopy(model) outside."
        )
    dtypes = {item.dtype for item in arguments if isinstance(item, Tensor) and item.is_floating_point()}
    wanted = next((item.dtype for item in parameters if item.is_floating_point()), None)
    if wanted is not None and dtypes - {wanted}:
        got = ", ".join(map(str, sorted(dtypes - {wanted}, key=str)))
        return f"The inputs are {got}, the network's parameters {wanted}: pass inputs.to({wanted})."
    return ""


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
        stack.enter_context(same_attributes(modules))
        stack.enter_context(aside(modules, model_device(modules)))
        with suppress(_LayersReached, Exception):
            network(*(first_sample(item, batch_size(arguments)) for item in arguments))
    return {layer: counts[layer.module] for layer in layers}


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
        stack.enter_context(same_attributes(list(model.modules())))
        stack.enter_context(unchanged(list(model.modules()), eval_mode=True))
        stack.enter_context(torch.no_grad())
        stack.enter_context(eager())
        model(inputs)
    return shapes
