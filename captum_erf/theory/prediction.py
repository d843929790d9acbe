"""What an architecture alone makes of a field: mean squared gradients for random weights, without data."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.nn import Module

from ..network.layers import find_layers, unwrap
from ..network.units import Position, resolve_position
from .rules import NoRule
from .squares import MeanSquares


def random_weights(
    model: Module, layer: Module | str, input_shape: Sequence[int], position: Position = "center"
) -> NDArray[np.float64]:
    """
    Gives the mean squared gradient of a unit over draws of random weights, from the architecture alone.

    For weights of mean 0 that do not depend on each other, mean squares of gradients add up wherever gradients do (Luo
    et al., 2016, section 2.2, for any network of such layers). So one backward pass gives them: through the network
    with every weight replaced by its mean square over the layer, ReLU-like activations by one half, batch norm by the
    square of its scale, other normalisation by the square of its weight, max pooling by the mean. Their square root is
    the shape that a mean of |dy/dx| should have, see :meth:`captum_erf.ERFMap.share_of_theory`.

    The shape is what counts. The scale is that of ``channel="random"``, as sums over channels of activations add up in
    step, and it is rough: which values a ReLU lets pass and which max pooling picks does depend on the weights.

    Args:
        model (Module): Network as it will be measured, in evaluation mode; it stays as it is, as a copy of it runs.
        layer (Module or str): Layer of the unit, or its name; its output is ``(N, C, *grid)``.
        input_shape (sequence of int): Shape of one sample, ``(C_in, *size)``.
        position (str or tuple): Place of the unit in the grid, as in
            :meth:`captum_erf.EffectiveReceptiveField.attribute`; all channels count.

    Returns:
        *ndarray* of shape ``size``, float64: the mean of (dy/dx)^2, summed over input channels.

    Raises:
        ValueError: An operation has no rule, such as attention or a gate, which the message names with its module;
            or the layer has no grid, is not reached, runs more than once, or does not depend on the input.
        TypeError: The model is no Module, or TorchScript.

    Examples::

        >>> from torch import nn
        >>> stack = nn.Sequential(*[nn.Conv1d(1, 1, 3, padding=1, bias=False) for _ in range(2)])
        >>> for convolution in stack:
        ...     _ = nn.init.ones_(convolution.weight)
        >>> random_weights(stack, "1", (1, 7))
        array([0., 1., 2., 3., 2., 1., 0.])
    """
    if not isinstance(model, Module):
        raise TypeError(f"got a {type(model).__name__}; expected a Module, as its weights are looked at.")
    (found,) = find_layers(model, [layer])
    twins: dict[int, Any] = {}
    twin: Module = copy.deepcopy(unwrap(model), twins)  # type: ignore[assignment]
    twin = twin.double().eval().requires_grad_(False)
    start = torch.zeros(1, *input_shape, dtype=torch.float64, device=_device(twin), requires_grad=True)
    running = _running(twin)
    with MeanSquares(twin.buffers(), lambda: running[-1]):
        output = _output(twin, twins.get(id(found.module)), found.name, start)
        index: tuple[Any, ...] = (0, slice(None), *resolve_position(position, output.shape[2:]))
        unit = output[index].sum()
        _check_graph(unit, found.name)
        (squares,) = torch.autograd.grad(unit, start)
    values: NDArray[np.float64] = squares[0].sum(0).cpu().numpy()
    return values


def _running(network: Module) -> list[str]:
    """The modules that run, outermost first, kept up to date by hooks on the network."""
    running = []
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise NoRule(f"got {name!r}, which is TorchScript; expected the eager module that it was scripted from.")
        words = f"{name!r} ({type(module).__name__})" if name else f"the network ({type(module).__name__})"
        module.register_forward_pre_hook(lambda module, inputs, words=words: running.append(words))
        module.register_forward_hook(lambda module, inputs, output: running.pop() and None)
    return running


def _output(network: Module, layer: Module | None, name: str, start: Tensor) -> Tensor:
    """What the layer hands over; the network need not run beyond it."""
    outputs: list[Any] = []
    if layer is not None:
        layer.register_forward_hook(lambda module, inputs, output: outputs.append(_kept(output)))
    try:
        network(start.clone())
    except NoRule:
        if not outputs:
            raise
    if len(outputs) != 1:
        raise ValueError(f"layer {name!r} runs {len(outputs)} times; expected a layer of the model that runs once.")
    (output,) = outputs
    if not isinstance(output, Tensor) or output.ndim != start.ndim:
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"layer {name!r} gives {got}; expected (N, C, *grid) with {start.ndim - 2} grid axes.")
    return output


def _kept(output: Any) -> Any:
    return output.clone() if isinstance(output, Tensor) else output


def _check_graph(unit: Tensor, name: str) -> None:
    """Refuses a unit that does not depend on the input, or does so through an autograd function of the network's."""
    if unit.grad_fn is None:
        raise ValueError(f"layer {name!r} does not depend on the input, so that there is no gradient.")
    nodes, seen = [unit.grad_fn], {unit.grad_fn}
    while nodes:
        node = nodes.pop()
        if isinstance(node, BackwardCFunction):
            raise NoRule(f"got {type(node).__name__}, an autograd function of the network's own, which has no rule.")
        following = {other for other, _ in node.next_functions if other is not None} - seen
        seen |= following
        nodes.extend(following)


def _device(network: Module) -> torch.device | None:
    return next((tensor.device for tensor in network.parameters()), None)
