"""Calls: how often layers run in a pass. To know it takes a pass to the end, so that it is remembered once it was seen.

What is remembered holds for the same forward function in the same settings, for inputs of the same shapes.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Sequence

from torch.nn import Module

from .batch import Batch
from .network import Network

_seen: weakref.WeakKeyDictionary[Module, tuple[Hashable, int]] = weakref.WeakKeyDictionary()


def known_calls(network: Network, key: Hashable) -> list[int] | None:
    """How often each layer runs, if it is known for the key."""
    found = [_seen.get(layer.module, (None, 0)) for layer in network.layers]
    return [count for _, count in found] if key and all(known == key for known, _ in found) else None


def remember_calls(network: Network, key: Hashable, counts: Sequence[int]) -> None:
    """
    Remembers what a pass to the end has shown, for the key that held before it.

    Examples::

        >>> import torch
        >>> from torch import nn
        >>> relu = nn.ReLU()
        >>> network, batch = Network.of(nn.Sequential(relu, relu), ["0"], call=1), Batch((torch.ones(1, 1, 4),))
        >>> key = calls_key(network, batch)
        >>> known_calls(network, key)
        >>> remember_calls(network, key, [2])
        >>> known_calls(network, key)
        [2]
    """
    if key:
        _seen.update((layer.module, (key, count)) for layer, count in zip(network.layers, counts, strict=True))


def calls_key(network: Network, batch: Batch) -> Hashable:
    """What counts depend on; None where it cannot be told, or where devices share the calls."""
    if network.is_parallel or not isinstance(network.forward_func, Module):
        return None
    return weakref.ref(network.forward_func), batch.shapes, network.settings()
