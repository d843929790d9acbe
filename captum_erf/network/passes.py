"""Passes: running a network up to the deepest of its layers, and what the layers hand over on the way."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from .batch import Batch
from .guards import eager, guarded_modules, one_pass
from .layers import unwrap
from .layouts import apply_layout
from .network import Network
from .recorder import LayersReached, Recorder


def image_format(device: torch.device) -> torch.memory_format:
    """
    In which memory format images run fastest.

    On a CPU that is channels-last. Before torch 2.7, convolutions crash in it where no window of a row reads a pixel,
    only padding (https://github.com/pytorch/pytorch/issues/136348). On a GPU images stay as they are: weights in
    another format would be copied in every pass.
    """
    if device.type != "cpu":
        return torch.preserve_format
    return torch.channels_last if torch.__version__ >= "2.7" else torch.contiguous_format


class WrongInput(RuntimeError):
    """The network does not run, and what is wrong with its weights or inputs is known."""


def run(network: Network, batch: Batch) -> dict[int, Any]:
    """
    Runs the network until every layer has been called, and returns what each handed over.

    Keys are places in ``network.layers``, in the order in which the layers ran. The network gets copies of the inputs,
    which it may change; images go in the format in which they run fastest, where the network can. Outputs are clones,
    so that an in-place operation further on cannot change them. With DataParallel or ``device_ids`` the pass runs to
    its end, as in Captum, and the devices' parts are joined in their order.

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
    if recorder.is_disturbed:
        return run(network.steadied([False] * len(network.layers)), batch)
    return recorder.found()


def read(network: Network, batch: Batch) -> list[Tensor]:
    """What every layer hands over, as ``(N, C, *grid)`` by the network's layout, in the order of its layers."""
    outputs = run(network, batch)
    return [apply_layout(network.layout, outputs[place], layer.name) for place, layer in enumerate(network.layers)]


def record(network: Network, batch: Batch, recorder: Recorder) -> None:
    """Runs the network before a recorder."""
    try:
        _record(network, batch, recorder, image_format(batch.measured.device))
    except RuntimeError as error:
        if "contiguous" not in str(error):
            raise
        recorder.outputs.clear()
        recorder.counts.clear()
        _record(network, batch, recorder, torch.contiguous_format)


def _record(network: Network, batch: Batch, recorder: Recorder, wanted: torch.memory_format) -> None:
    modules = guarded_modules(network)
    wanted = wanted if batch.back is None else torch.contiguous_format
    inputs = tuple(_copy(item, wanted) for item in batch.given)
    with ExitStack() as stack:
        stack.enter_context(one_pass(modules))
        stack.enter_context(recorder.watching())
        stack.enter_context(eager())
        stack.enter_context(suppress(LayersReached))
        try:
            unwrap(network.forward_func)(*inputs, *batch.arguments)
        except RuntimeError as error:
            reason = _reason(batch, modules)
            if reason:
                raise WrongInput(f"{reason} The network says: {error}") from error
            raise


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


def _copy(item: Any, wanted: torch.memory_format) -> Any:
    if not isinstance(item, Tensor):
        return item
    return item.clone(memory_format=wanted if item.ndim == 4 else torch.preserve_format)
