"""The effective receptive field as a Captum attribution: |dy/dx| of a unit (Luo et al., NeurIPS 2016)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Unpack

import torch
from captum.attr import GradientAttribution, LayerAttribution
from captum.log import log_usage
from torch import Tensor
from torch.nn import Module

from .erfmap import ERFMap
from .measurement.accumulator import ERFAccumulator
from .measurement.loop import run_through
from .measurement.measurement import Keywords, Measurement
from .measurement.memo import Memo
from .measurement.sample_maps import Magnitude
from .network.batch import Batch, as_arguments
from .network.gradient import unit_gradients
from .network.guards import gradients_enabled, set_up, unchanged
from .network.layers import ForwardFunc, find_layers
from .network.layouts import Layout, as_layout
from .network.looks import Look
from .network.network import Network
from .network.readings import settle
from .network.rearrangements import InputLayout
from .network.units import Channel, NeuronSelector, Position, Positions, Reader, Units, make_reader


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
        input_layout (str or Callable): How the input is read as ``(N, C_in, *size)``, in the same words: maps lie over
            the axes that follow the channels. ``channels_last`` for ``(N, T, F)`` and ``(N, H, W, C)``,
            ``lambda clips: clips.transpose(1, 2)`` for ``(N, T, C, H, W)``. A callable may only re-arrange. Of several
            inputs it is for the measured one.
        call (int, optional): Which call of a layer that the network uses several times in one forward pass: 0 is
            the first, -1 the last. None refuses such a layer.

    Raises:
        ValueError: No layer has the given name (the nearest names are listed), or the list of layers is empty.
        TypeError: The layer is no Module and no name, or is TorchScript or quantised.

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
        input_layout: Layout = "channels_first",
        call: int | None = None,
    ) -> None:
        single = isinstance(layer, (Module, str)) or not isinstance(layer, Iterable)
        self._layers = tuple(find_layers(forward_func, [layer] if single else list(layer), call))  # type: ignore[list-item, arg-type]
        if not self._layers:
            raise ValueError("layer is an empty list; name at least one layer.")
        self._single = single
        modules = [found.module for found in self._layers]
        LayerAttribution.__init__(self, forward_func, modules[0] if single else modules, device_ids)
        GradientAttribution.__init__(self, forward_func)
        self.layout = as_layout(layout)
        self._input_layout = InputLayout(input_layout)
        self._memo = Memo()

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
            inputs (Tensor or tuple[Tensor, ...]): Inputs of shape ``(N, C_in, *size)``, or as ``input_layout`` reads
                them (the first floating-point one); with a ``neuron_selector`` of any shape.
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
            TypeError: No input is floating point, or the layer hands over no tensor.
            RuntimeError: The forward pass does not run the layer, or no gradient path leads to the inputs.

        Examples::

            >>> import torch
            >>> from torch import nn
            >>> erf = EffectiveReceptiveField(nn.Conv1d(1, 2, 3, bias=False), layer="")
            >>> erf.attribute(torch.ones(1, 1, 5), position=(0,), channel=1).squeeze().count_nonzero().item()
            3
        """
        reader = make_reader(neuron_selector, position, channel)
        network = self._network(layer_input=attribute_to_layer_input)
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        batch = Batch(given, as_arguments(additional_forward_args), index=None).differentiable().to(network.device)
        if isinstance(reader, Units):
            batch = batch.read_by(network.input_layout)
        _warn_of_mixing(network)
        found: list[Any] = [None] * len(self._layers)
        shown = set_up(network, batch)
        with gradients_enabled(), unchanged(list(shown.reach.modules), eval_mode=False):
            settled = self._settled(network, reader, batch, shown.look)
            for place, _, gradients in unit_gradients(settled, [[reader]] * len(self._layers), batch):
                own = batch.in_own_order(gradients)
                shaped = tuple(_attribution(gradient, tensor, abs) for gradient, tensor in zip(own, given, strict=True))
                found[place] = shaped if isinstance(inputs, tuple) else shaped[0]
        return found[0] if self._single else found

    def aggregate(
        self,
        dataloader: Iterable[Any],
        *,
        position: Position = "center",
        channel: Channel = None,
        neuron_selector: NeuronSelector | None = None,
        magnitude: Magnitude = "abs",
        normalize: bool = False,
        additional_forward_args: Any = None,
        get_inputs: Callable[[Any], Any] | None = None,
        get_groups: Callable[[Any], Iterable[Hashable]] | None = None,
        input_index: int = 0,
        max_samples: int | None = None,
        target_error: float | None = None,
        window: str | bool = "auto",
        autocast: torch.dtype | None = None,
        eval_mode: bool = True,
        nonfinite: str = "raise",
        groups: int = 10,
        generator: torch.Generator | None = None,
        show_progress: bool = False,
    ) -> ERFMap:
        r"""
        Effective receptive field of one unit: the mean of its sample maps over a data loader.

        In an initialised ``torch.distributed`` job every rank passes its own shard and gets the whole result.

        Args:
            dataloader (Iterable): Batches: tensors, or tuples and lists whose first item is the inputs, of shape
                ``(N, C_in, *size)`` with one to three spatial axes of one size throughout.
            position (str or tuple): The unit, as in :meth:`attribute`.
            channel, neuron_selector: As in :meth:`attribute`. With a ``neuron_selector`` the whole input is used and
                ``position`` only names the unit whose geometry the result carries.
            magnitude (str or Callable): ``"abs"``, ``"square"``, ``"positive"`` or ``"signed"``, summed over the
                input's channels, or a callable from the gradient ``(N, C_in, *size)`` to sample maps ``(N, *size)``.
            normalize (bool): Divide every sample map by its own sum first, so that no sample weighs more for having
                larger gradients. Dead samples stay zero, and part of the mean.
            additional_forward_args (Any or Callable): Further arguments of ``forward_func``, or a function that takes
                them from the batch. A tensor as long as the batch holds one entry for each sample, as in Captum.
            get_inputs (Callable, optional): Takes the inputs, a tensor or a tuple of tensors, from the batch.
            get_groups (Callable, optional): Names, for each sample of a batch, what is independent: crops of one
                photograph are not, so name the photograph. Samples of one name share a group of the jackknife, and
                standard errors are over names. Where accumulators or ranks see crops of the same images, these keep
                one group if a numbering allows it; a warning says where none does.
            input_index (int): Which of several inputs the map is of.
            max_samples (int, optional): Stop after this many samples; of several ranks each takes its equal part.
            target_error (float, optional): Stop once the relative standard error of ``diameter(0.5)`` is at or below
                it; looked at from two samples a group on.
            window (str or bool): ``"auto"`` works on the smallest exact part of the input and checks itself on the
                first batch; False always takes the whole input.
            autocast (torch.dtype, optional): Precision of the passes; sums stay float64.
            eval_mode (bool): Measure in evaluation mode; every module's own flag comes back afterwards.
            nonfinite (str): ``"raise"``, or ``"skip"`` to leave out and count samples that are not finite, or whose
                gradient is not.
            groups (int): Groups of samples for the standard errors.
            generator (torch.Generator, optional): Where everything random comes from: the signs of
                ``channel="random"``, and what the network draws. torch's own random numbers, as those of a training
                run, then stay what they were.
            show_progress (bool): Show a tqdm bar.

        Returns:
            *ERFMap*

        Raises:
            ValueError: The class was made with a list of layers (use :meth:`sweep`), the loader is empty, inputs change
                their size, or all samples are dead.
            FloatingPointError: A sample or its gradient is not finite.
            ValueError, IndexError, TypeError, RuntimeError: As in :meth:`attribute`.

        Examples::

            >>> import torch
            >>> from torch import nn
            >>> from captum_erf import EffectiveReceptiveField
            >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
            >>> field = EffectiveReceptiveField(model, "2").aggregate(torch.randn(4, 8, 3, 32, 32))
            >>> field.num_samples, field.theoretical.size, field.center
            (32, (5, 5), (16.0, 16.0))
        """
        if not self._single:
            raise ValueError(
                f"aggregate is for one layer, this object has {len(self._layers)}; use sweep, which returns a list."
            )
        (field,) = self.sweep(
            dataloader,
            positions=(position,),
            channel=channel,
            neuron_selector=neuron_selector,
            magnitude=magnitude,
            normalize=normalize,
            additional_forward_args=additional_forward_args,
            get_inputs=get_inputs,
            get_groups=get_groups,
            input_index=input_index,
            window=window,
            autocast=autocast,
            eval_mode=eval_mode,
            nonfinite=nonfinite,
            groups=groups,
            generator=generator,
            max_samples=max_samples,
            target_error=target_error,
            show_progress=show_progress,
        )
        return field

    def sweep(
        self,
        dataloader: Iterable[Any],
        *,
        positions: Positions = ("center",),
        max_samples: int | None = None,
        target_error: float | None = None,
        show_progress: bool = False,
        **keywords: Unpack[Keywords],
    ) -> list[ERFMap]:
        r"""
        Effective receptive fields of all layers and positions, in shared passes over the data.

        Args:
            dataloader (Iterable): Batches, as in :meth:`aggregate`.
            positions (Sequence or ``"grid"``): Units to measure in each layer. ``"grid"`` takes every unit of a coarse
                grid, and an even choice of 7 a side, with the centre, of a finer one; units that no sample activates
                are then left out, with a warning.
            max_samples, target_error, show_progress, **keywords: As in :meth:`aggregate`.

        Returns:
            *list[ERFMap]*, layer by layer, position by position.

        Raises:
            ValueError, ...: As in :meth:`aggregate`.

        Examples::

            >>> import torch
            >>> from torch import nn
            >>> from captum_erf import EffectiveReceptiveField
            >>> model = nn.Sequential(nn.Conv1d(1, 1, 3), nn.Conv1d(1, 1, 3))
            >>> erf = EffectiveReceptiveField(model, ["0", "1"])
            >>> fields = erf.sweep([torch.randn(4, 1, 32)], positions=["center", "corner"])
            >>> [(field.layer, field.position, field.theoretical.size) for field in fields]
            [('0', (15,), (3,)), ('0', (0,), (3,)), ('1', (14,), (5,)), ('1', (0,), (5,))]
        """
        return run_through(
            self.accumulator(positions=positions, **keywords),
            dataloader,
            max_samples=max_samples,
            target_error=target_error,
            show_progress=show_progress,
        )

    def accumulator(self, *, positions: Positions = ("center",), **keywords: Unpack[Keywords]) -> ERFAccumulator:
        r"""
        Streaming state for a loop of one's own.

        Args:
            positions, **keywords: As in :meth:`sweep`.

        Returns:
            *ERFAccumulator* with ``update``, ``merge``, ``all_reduce``, ``compute``, ``state_dict`` and
            ``load_state_dict``.

        Raises:
            ValueError, TypeError: An argument is none of its allowed values.

        Examples::

            >>> import torch
            >>> accumulator = EffectiveReceptiveField(torch.nn.Conv1d(1, 1, 3), "").accumulator()
            >>> for batch in torch.randn(4, 8, 1, 9):
            ...     accumulator.update(batch)
            >>> accumulator.compute()[0].num_samples
            32
        """
        return ERFAccumulator(Measurement(self._network(), positions, memo=self._memo, **keywords))

    def _network(self, *, layer_input: bool = False) -> Network:
        device_ids = None if self.device_ids is None else tuple(self.device_ids)
        return Network(self.forward_func, self._layers, self.layout, device_ids, layer_input, self._input_layout)

    def _settled(self, network: Network, reader: Reader, batch: Batch, look: Look | None) -> Network:
        """The network with its calls settled and, where the reader reads a grid, its outputs looked at."""
        grids = isinstance(reader, Units)
        key = (grids, network.layer_input, batch.shapes, network.settings())
        settled = self._memo.recall(key, lambda: settle(network, batch, grids=grids, look=look))
        if isinstance(reader, Units) and reader.channel is None:
            settled.warn_of_cancelling()
        return settled.network


def _attribution(gradient: Tensor | None, tensor: Tensor, absolute: bool) -> Tensor:
    if gradient is None:
        return torch.zeros_like(tensor)
    return (gradient.abs() if absolute else gradient).contiguous().to(tensor.device)


def _warn_of_mixing(network: Network) -> None:
    mixing = network.mixes_samples()
    if mixing:
        warnings.warn(
            f"{', '.join(mixing)} in training mode mixes the samples of a batch, so each attribution also holds the "
            "other samples' influence; call model.eval() first.",
            stacklevel=4,
        )
