"""Passes: running a network up to the deepest of its layers, and what the layers hand over on the way."""

from __future__ import annotations

import copy
import functools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils._pytree import tree_leaves, tree_map

from .batch import Batch
from .guards import eager, guarded_modules, one_pass
from .layers import Layer, quantised, unwrap
from .layouts import apply_layout
from .network import Network

IMAGE_FORMAT = torch.channels_last if torch.__version__ >= "2.7" else torch.contiguous_format
"""Convolutions run faster channels-last. Before torch 2.7 they crash in it where no window of a row reads a pixel, only
padding (https://github.com/pytorch/pytorch/issues/136348)."""


class _LayersReached(BaseException):
    """Ends the forward pass; no ``except Exception`` of the network's own may swallow it."""


class WrongInput(RuntimeError):
    """The network does not run, and what is wrong with its weights or inputs is known."""


class LayerLeftOut(RuntimeError):
    """A layer that ran in an earlier forward pass did not run in this one."""


def run(network: Network, batch: Batch) -> dict[int, Any]:
    """
    Runs the network until every layer has been called, and returns what each handed over.

    Keys are places in ``network.layers``, in the order in which the layers ran. The network gets copies of the inputs,
    which it may change; images go channels-last, in which convolutions run faster, where the network can. Outputs are
    clones, so that an in-place operation further on cannot change them. With DataParallel or ``device_ids`` the pass
    runs to its end, as in Captum, and the devices' parts are joined in their order.

    Raises:
        ValueError: There is no such call of a layer.
        RuntimeError: A layer is never called.
        TypeError: A layer's output is quantised.

    Examples::

        >>> from torch import nn
        >>> network = Network.of(nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten()), ["1", "0"])
        >>> outputs = run(network, Batch((torch.ones(4, 1, 9),)))
        >>> [(place, tuple(output.shape)) for place, output in outputs.items()]
        [(1, (4, 2, 7)), (0, (4, 2, 7))]
    """
    recorder = Recorder(network)
    record(network, batch, recorder)
    return recorder.found()


def read(network: Network, batch: Batch) -> list[Tensor]:
    """What every layer hands over, as ``(N, C, *grid)`` by the network's layout, in the order of its layers."""
    outputs = run(network, batch)
    return [apply_layout(network.layout, outputs[place], layer.name) for place, layer in enumerate(network.layers)]


class Recorder:
    """Counts the calls of the layers and keeps what those that are asked for hand over, by layer and device.

    It ends the pass with the last of them, unless several devices run it or it is to be seen ``to_the_end``.
    """

    def __init__(self, network: Network, *, to_the_end: bool = False) -> None:
        self.network, self.layers = network, network.layers
        self.stop = not (network.is_parallel or to_the_end)
        self.device_ids = list(network.device_ids or getattr(network.forward_func, "device_ids", None) or [])
        self.outputs: dict[int, dict[torch.device | None, Any]] = {}
        self.counts: Counter[tuple[int, torch.device | None]] = Counter()
        self.lock = threading.Lock()

    def keep(self, place: int, output: Any) -> None:
        device = _device(output)
        with self.lock:
            self.counts[place, device] += 1
            if self.counts[place, device] != (self.layers[place].call or 0) + 1:
                return
            complete = len(self.outputs.keys() | {place}) == len(self.layers)
            is_last = complete and self.stop and torch.is_grad_enabled()  # else what was written is put back
            kept = output if is_last else tree_map(_clone, output)
            self.outputs.setdefault(place, {})[device] = kept
        if complete and self.stop:
            raise _LayersReached

    @property
    def calls(self) -> list[int]:
        """How often each layer was called, on one device."""
        return [
            max((count for (counted, _), count in self.counts.items() if counted == place), default=0)
            for place in range(len(self.layers))
        ]

    def found(self) -> dict[int, Any]:
        """What each layer handed over; refuses layers whose call never came."""
        for place, layer in enumerate(self.layers):
            if place not in self.outputs:
                raise (
                    left_out(layer) if layer.call is not None else no_such_call(self.network, layer, self.calls[place])
                )
            if any(map(_is_batched, tree_leaves(list(self.outputs[place].values())))):
                raise TypeError(
                    f"Layer {layer.name!r} runs under torch.func.vmap, which hides the samples from it; pass the model "
                    "itself as forward_func, and whole batches."
                )
            if any(isinstance(item, Tensor) and item.is_quantized for item in self.outputs[place].values()):
                raise quantised(layer.name)
        return {place: _join(outputs, self.device_ids) for place, outputs in self.outputs.items()}


def record(network: Network, batch: Batch, recorder: Recorder) -> None:
    """Runs the network before a recorder."""
    try:
        _record(network, batch, recorder, IMAGE_FORMAT)
    except RuntimeError as error:
        if "contiguous" not in str(error):
            raise
        recorder.outputs.clear()
        recorder.counts.clear()
        _record(network, batch, recorder, torch.contiguous_format)


def _record(network: Network, batch: Batch, recorder: Recorder, image_format: torch.memory_format) -> None:
    modules = guarded_modules(network)
    image_format = image_format if batch.back is None else torch.contiguous_format
    inputs = tuple(_copy(item, image_format) for item in batch.given)
    with ExitStack() as stack:
        stack.enter_context(one_pass(modules))
        for place, layer in enumerate(network.layers):
            stack.callback(watch(layer, functools.partial(recorder.keep, place), network.layer_input))
        stack.enter_context(eager())
        stack.enter_context(suppress(_LayersReached))
        try:
            unwrap(network.forward_func)(*inputs, *batch.arguments)
        except RuntimeError as error:
            reason = _reason(batch, modules)
            if reason:
                raise WrongInput(f"{reason} The network says: {error}") from error
            raise


def watch(layer: Layer, keep: Callable[[Any], None], layer_input: bool = False) -> Callable[[], None]:
    """Calls ``keep`` with all that the layer hands over, or is given, until what is returned is called."""
    if layer_input:

        def before(_module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = (*args, *kwargs.values())
            keep(given[0] if len(given) == 1 else given)

        return layer.module.register_forward_pre_hook(before, with_kwargs=True).remove

    def after(_module: Module, _args: tuple[Any, ...], output: Any) -> None:
        keep(output)

    return layer.module.register_forward_hook(after).remove


def left_out(layer: Layer) -> Exception:
    """The error for a layer, known to run, whose call did not come."""
    return LayerLeftOut(
        f"Layer {layer.name!r} ran in an earlier forward pass, but not in this one: the network leaves layers out at "
        "random, as stochastic depth that eval() does not switch off, or takes a branch that depends on the data. "
        "Switch that off, or choose a layer that always runs."
    )


def no_such_call(network: Network, layer: Layer, count: int) -> Exception:
    """The error for a layer that is called less often than is asked for, ``count`` times."""
    if count:
        return ValueError(
            f"Layer {layer.name!r} has no call={layer.call}: it is called {count} time(s) in one forward pass."
        )
    return RuntimeError(
        f"The forward pass never ran layer {layer.name!r}; choose one that this network and these inputs use, such as "
        f"the module around it.{network.way_inside} Where layers are left out at random, as in stochastic depth that "
        "eval() does not switch off, or by a branch that depends on the data, another pass may run it."
    )


def _reason(batch: Batch, modules: Sequence[Module]) -> str:
    """What is likely to be wrong where the network does not run."""
    parameters = [item for module in modules for item in module._parameters.values() if item is not None]
    if torch.is_grad_enabled() and any(parameter.is_inference() for parameter in parameters):
        return (
            "The network's parameters are inference tensors, with which autograd cannot work: it was made under "
            "torch.inference_mode(). Make it outside, or take copy.deepcopy(model) outside."
        )
    dtypes = {item.dtype for item in batch.everything if isinstance(item, Tensor) and item.is_floating_point()}
    wanted = next((item.dtype for item in parameters if item.is_floating_point()), None)
    if wanted is not None and dtypes - {wanted}:
        got = ", ".join(map(str, sorted(dtypes - {wanted}, key=str)))
        return f"The inputs are {got}, the network's parameters {wanted}: pass inputs.to({wanted})."
    return ""


def _copy(item: Any, image_format: torch.memory_format) -> Any:
    if not isinstance(item, Tensor):
        return item
    return item.clone(memory_format=image_format if item.ndim == 4 else torch.preserve_format)


def _clone(item: Any) -> Any:
    """A copy of a tensor, also of those that an object of the network's own kind holds."""
    if isinstance(item, Tensor):
        return item.clone()
    attributes = {} if isinstance(item, Module) else getattr(item, "__dict__", {})
    held = {name: value for name, value in attributes.items() if any(map(_is_tensor, tree_leaves(value)))}
    if not held:
        return item
    twin = copy.copy(item)
    vars(twin).update({name: tree_map(_clone, value) for name, value in held.items()})
    return twin


def _is_batched(item: Any) -> bool:
    return isinstance(item, Tensor) and torch._C._functorch.is_batchedtensor(item)


def _is_tensor(item: Any) -> bool:
    return isinstance(item, Tensor)


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
