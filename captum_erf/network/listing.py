"""Which layers of a network hand over a grid."""

from __future__ import annotations

from typing import Any

from torch.nn import Module

from .batch import Batch
from .guards import aside
from .layouts import Layout, apply_layout, check_layout
from .network import Network
from .passes import record
from .recorder import Recorder


def layers_with_grid(model: Module, batch: Batch, layout: Layout) -> list[str]:
    """
    Names of the layers that are called once in a pass and hand over a grid of several units, as they come.

    Examples::

        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(14, 2))
        >>> layers_with_grid(net, Batch((torch.ones(4, 1, 9),)), "channels_first")
        ['0', '1']
    """
    network = Network.of(model, [name for name, _ in model.named_modules()], layout=layout)
    sample, recorder = batch.sample(), Recorder(network, to_the_end=True)
    with aside(network, batch) as look:
        if look:
            recorder = look.recorder
        else:
            record(network, sample, recorder)
    return [
        network.layers[place].name
        for place, outputs in recorder.outputs.items()
        if recorder.calls[place] == 1 and _has_grid(network, next(iter(outputs.values())), sample)
    ]


def _has_grid(network: Network, output: Any, sample: Batch) -> bool:
    try:
        read = apply_layout(network.layout, output, "")
        check_layout(network.layout, read.shape, sample.image(read.ndim).shape, "")
    except (ValueError, TypeError):
        return False
    return read.is_floating_point() and max(read.shape[2:]) > 1
