"""The effective receptive field as a Captum attribution: |dy/dx| of a unit (Luo et al., NeurIPS 2016)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from captum._utils.common import _format_additional_forward_args, _format_output, _format_tensor_into_tuples
from captum.attr import LayerAttribution
from captum.attr._utils.attribution import GradientAttribution
from captum.log import log_usage
from torch import Tensor
from torch.nn import Module

from .gradients import Network, gradients_enabled, unit_gradients
from .layers import ForwardFunc, all_modules, find_layers, mixes_samples, model_device, unchanged
from .layouts import Layout
from .units import Channel, NeuronSelector, Position, Reader, Selected, SelectorError, Units, check_channel


class EffectiveReceptiveField(LayerAttribution, GradientAttribution):  # type: ignore[misc]
    r"""
    Effective receptive field of a unit: how strongly each input position really influences it (Luo et al.,
    "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", NeurIPS 2016, section 2).

    Args:
        forward_func (Callable): The network, or any modification of its forward function.
        layer (Module, str or list of these): Layer, or layers, whose unit is looked at. A dotted name where
            ``forward_func`` is a Module.
        device_ids (list[int], optional): Device ids, where ``forward_func`` applies a DataParallel model.
        layout (str or Callable): How the layer's output is read as ``(N, C, *grid)``: ``"channels_first"``,
            ``channels_last``, ``tokens(prefix, grid)`` or any callable from the layer's output.

    Raises:
        ValueError: No layer has the given name; the nearest names are listed.

    Examples::

        >>> import torch
        >>> from torch import nn
        >>> from captum_erf import EffectiveReceptiveField
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
        >>> erf = EffectiveReceptiveField(model, "1")
        >>> attributions = erf.attribute(torch.randn(2, 3, 16, 16))
        >>> attributions.shape
        torch.Size([2, 3, 16, 16])
        >>> (attributions.sum(1)[0] > 0).sum().item()
        25
    """

    def __init__(
        self,
        forward_func: ForwardFunc,
        layer: Module | str | Sequence[Module | str],
        device_ids: list[int] | None = None,
        *,
        layout: Layout = "channels_first",
    ) -> None:
        single = isinstance(layer, (Module, str))
        self._layers = tuple(find_layers(forward_func, [layer] if single else list(layer)))  # type: ignore[list-item, arg-type]
        if not self._layers:
            raise ValueError("layer is an empty list; name at least one layer.")
        self._single = single
        modules = [found.module for found in self._layers]
        LayerAttribution.__init__(self, forward_func, modules[0] if single else modules, device_ids)
        GradientAttribution.__init__(self, forward_func)
        self.layout = layout

    @log_usage()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        neuron_selector: NeuronSelector | None = None,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        *,
        position: Position = "center",
        channel: Channel = None,
        abs: bool = True,
    ) -> Any:
        r"""
        Gradient of one unit of the layer with respect to the inputs, sample by sample.

        The forward pass ends at the (deepest) layer, the whole input is used, only gradients with respect to the
        inputs are computed, and the model's mode is left alone.

        Args:
            inputs (Tensor or tuple[Tensor, ...]): Inputs of shape ``(N, C_in, *size)``; with a
                ``neuron_selector`` of any shape.
            neuron_selector (int, tuple or Callable, optional): Captum's selector: works on any layer, spatial or
                not. Excludes ``position`` and ``channel``.
            additional_forward_args (Any, optional): Further arguments of ``forward_func``, as in Captum.
            attribute_to_layer_input (bool): Look at the layer's input instead of its output.
            position (str or tuple): ``"center"`` (index ``g // 2`` on every axis), ``"corner"``, ``"edge"``, or per
                axis an int (negatives count from the end) or a float in [0, 1] (share of the grid).
            channel (None, int, Sequence[int], "random" or Callable): Channels whose sum is the unit's scalar. None
                takes all, ``"random"`` all with random signs from torch's generator, a callable maps the unit's
                values ``(N, C)`` to ``(N,)``.
            abs (bool): Absolute values; False leaves the gradient's sign.

        Returns:
            *Tensor* or *tuple[Tensor, ...]* shaped like ``inputs``; a list of these for a list of layers. Inputs
            that are not floating point get zeros.

        Raises:
            SelectorError (an AssertionError and ValueError): The selector does not fit the layer, or comes together
                with ``position`` or ``channel``.
            ValueError, IndexError: The position or channel does not fit the layer, or the layer's output has no grid.
            RuntimeError: The forward pass does not run the layer, or no gradient path leads to the inputs.

        Examples::

            >>> import torch
            >>> from torch import nn
            >>> erf = EffectiveReceptiveField(nn.Conv1d(1, 2, 3, bias=False), layer="")
            >>> erf.attribute(torch.ones(1, 1, 5), position=(0,), channel=1).squeeze().count_nonzero().item()
            3
        """
        is_tuple = isinstance(inputs, tuple)
        tensors: tuple[Tensor, ...] = _format_tensor_into_tuples(inputs)
        arguments = _format_additional_forward_args(additional_forward_args) or ()
        network = self._network(layer_input=attribute_to_layer_input)
        reader = make_reader(neuron_selector, position, channel)
        modules = all_modules(self.forward_func, self._layers)
        _warn_of_mixing(modules)
        found: list[Any] = [None] * len(self._layers)
        with gradients_enabled(), unchanged(modules, eval_mode=False):
            placed = to_device(tensors, model_device(modules))
            for place, _, gradients in unit_gradients(
                network, [[reader]] * len(self._layers), placed, to_device(arguments, model_device(modules))
            ):
                shaped = tuple(
                    _attribution(gradient, tensor, abs) for gradient, tensor in zip(gradients, tensors, strict=True)
                )
                found[place] = _format_output(is_tuple, shaped)
        return found[0] if self._single else found

    def _network(self, *, layer_input: bool = False) -> Network:
        device_ids = None if self.device_ids is None else tuple(self.device_ids)
        return Network(self.forward_func, self._layers, self.layout, device_ids, layer_input)


def make_reader(neuron_selector: NeuronSelector | None, position: Position, channel: Channel) -> Reader:
    """The reader that ``neuron_selector``, or else ``position`` and ``channel``, describe."""
    if neuron_selector is None:
        check_channel(channel)
        return Units((position,), channel)
    if position != "center" or channel is not None:
        raise SelectorError(
            "neuron_selector excludes position and channel: it picks the neuron by itself. Drop one or the other."
        )
    return Selected(neuron_selector)


def to_device(items: tuple[Any, ...], device: torch.device | None) -> tuple[Any, ...]:
    """Tensors moved to the model's device, everything else as it is."""
    return tuple(item.to(device) if isinstance(item, Tensor) and device is not None else item for item in items)


def _attribution(gradient: Tensor | None, tensor: Tensor, absolute: bool) -> Tensor:
    if gradient is None:
        return torch.zeros_like(tensor)
    return (gradient.abs() if absolute else gradient).to(tensor.device)


def _warn_of_mixing(modules: Sequence[Module]) -> None:
    mixing = mixes_samples(modules)
    if mixing:
        warnings.warn(
            f"{', '.join(mixing)} in training mode mixes the samples of a batch, so each attribution also holds the "
            "other samples' influence; call model.eval() first.",
            stacklevel=4,
        )
