"""What a network is, as far as a user could notice that a measurement has changed it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, str, tuple, type(None))


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Values of tensors, names and plain values of attributes, hooks, flags and gradients, module by module."""
    return {name: dict(_facts(module)) for name, module in model.named_modules()}


def _facts(module: nn.Module) -> Iterator[tuple[str, Any]]:
    yield "training", module.training
    yield "children", list(module._modules)
    for name, value in vars(module).items():
        if "hooks" in name and isinstance(value, dict):
            yield name, len(value)
        elif isinstance(value, PLAIN):
            yield name, value
        elif isinstance(value, Tensor):
            yield name, value.detach().clone()
    yield "attributes", sorted(vars(module))
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None:
            yield name, tensor.detach().clone()
            yield f"{name}, needs a gradient", tensor.requires_grad
            yield f"{name}, has a gradient", tensor.grad is not None


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Where two snapshots differ, by module and name."""
    return [
        f"{module or 'the network'}: {key}"
        for module in first.keys() | second.keys()
        for key in first.get(module, {}).keys() | second.get(module, {}).keys()
        if not _same(first.get(module, {}).get(key), second.get(module, {}).get(key))
    ]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.shape == other.shape and one.dtype == other.dtype
        return alike and bool(torch.equal(torch.nan_to_num(one), torch.nan_to_num(other)))
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return False
    return bool(one == other) or (one != one and other != other)


def tensors(output: Any) -> list[Tensor]:
    """Every tensor in an output, whatever holds it."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        return [tensor for value in output.values() for tensor in tensors(value)]
    if isinstance(output, (list, tuple)):
        return [tensor for value in output for tensor in tensors(value)]
    return [tensor for value in getattr(output, "__dict__", {}).values() for tensor in tensors(value)]


def random_states() -> tuple[Any, ...]:
    """Of torch, NumPy and Python, ready to be compared."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), (kind, keys.tolist(), *rest), random.getstate()
