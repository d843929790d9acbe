"""Layers: what they hand over, how that is read, and which are measured when none is named."""

from __future__ import annotations

import fnmatch
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..network.guards import eager, unchanged
from ..network.layers import find_layers
from ..network.layouts import Layout, apply_layout, channels_last, check_layout, fits_input, tokens
from ..text import counted, times

EVEN = 1e-5  # spread of the sums over channels, as a share of their terms' sizes, that counts as rounding
MOST_PREFIX = 8  # tokens in front of those with a place: class token and registers


@dataclass(frozen=True)
class Output:
    """What a module hands over for one input: its shape, None for what is no tensor; how often it runs in one pass;
    and the axes, of 1 and -1, along which it sums to the same at every unit, as channels do after a layer norm."""

    shape: tuple[int, ...] | None
    calls: int = 1
    even_axes: tuple[int, ...] = ()


class Outputs(dict[str, Output]):
    """What the modules of a model hand over for one input ``(C, *size)``, in the order in which they finish."""

    def __init__(self, model: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        self.model, self.shape, self.size = model, tuple(shape), tuple(shape[1:])

    def module(self, name: str) -> nn.Module:
        return self.model.get_submodule(name)


def look(model: nn.Module, shape: Sequence[int]) -> Outputs:
    """
    What the modules hand over for one input of noise; those that do not run are left out.

    The model runs in evaluation mode, and is left as it was; a ValueError where it does not run.
    """
    outputs = Outputs(model, shape)

    def note(name: str, _module: nn.Module, _arguments: Any, output: Any) -> None:
        earlier = outputs.pop(name, None)
        outputs[name] = _seen(output, 1 if earlier is None else earlier.calls + 1)

    try:
        with ExitStack() as stack:
            for name, module in model.named_modules():
                stack.callback(module.register_forward_hook(partial(note, name)).remove)
            stack.enter_context(left_alone(model))
            stack.enter_context(torch.no_grad())
            model(noise(model, shape))
    except Exception as error:
        raise ValueError(_does_not_run(model, (1, *shape), error)) from error
    return outputs


@contextmanager
def left_alone(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, with its buffers, attributes and flags as they were before."""
    modules = list(model.modules())
    with unchanged(modules, eval_mode=True), eager():
        yield


def noise(model: nn.Module, shape: Sequence[int]) -> Tensor:
    """One input of noise, the same each time, where the model is."""
    weight = next(model.parameters(), None)
    device = torch.device("cpu") if weight is None else weight.device
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)).to(device)


def _seen(output: Any, calls: int) -> Output:
    if not isinstance(output, Tensor):
        return Output(None, calls)
    axes = () if output.is_meta or output.ndim < 3 else tuple(axis for axis in (1, -1) if _is_even(output, axis))
    return Output(tuple(output.shape), calls, axes)


def _is_even(output: Tensor, axis: int) -> bool:
    if output.dtype not in (torch.float32, torch.float64):
        return False
    sums, sizes = output.sum(axis), output.abs().sum(axis)
    return sums.numel() > 1 and bool((sums - sums.mean()).abs().max() <= EVEN * sizes.max()) and bool(sizes.any())


def _does_not_run(model: nn.Module, shape: tuple[int, ...], error: Exception) -> str:
    weight = next(model.parameters(), None)
    likely = "Set --size to the side that it takes" if len(shape) == 4 else "Set --shape to what it takes"
    if weight is not None and weight.dtype != torch.float32:
        likely = f"Let it have weights of float32, as the images, instead of {weight.dtype}: model.float()"
    return (
        f"The model does not run on an input of shape {shape}: {str(error) or type(error).__name__}. {likely}; "
        "for inputs of other kinds there are --shape and the Python interface."
    )


def wanted_layers(outputs: Outputs, wanted: Iterable[str], call: int | None) -> list[str]:
    """The layers of the given names and patterns, such as ``layer*``, in the order given."""
    found: list[str] = []
    for name in wanted:
        if any(letter in name for letter in "*?["):
            depth = name.count(".")
            matching = [other for other in outputs if other.count(".") == depth and fnmatch.fnmatchcase(other, name)]
            if not matching:
                raise ValueError(f"--layers: no layer that runs is called {name!r}; --list-layers shows them all.")
            found += sorted(matching, key=[known for known, _ in outputs.model.named_modules()].index)
        else:
            find_layers(outputs.model, [name])
            found.append(name)
    idle = [name for name in found if name not in outputs]
    if idle:
        raise ValueError(f"--layers: {idle[0]} does not run; --list-layers shows what does.")
    for name in found:
        if outputs[name].calls > 1 and call is None:
            raise ValueError(
                f"--layers: {name} runs {outputs[name].calls} times in one pass; add --call 0 for the first time, "
                "--call -1 for the last."
            )
    return list(dict.fromkeys(found))


def check_call(outputs: Outputs, layers: Iterable[str], call: int | None) -> None:
    """Refuses a call that one of the layers has not."""
    for name in layers:
        calls = outputs[name].calls
        if call is not None and not -calls <= call < calls:
            raise ValueError(
                f"--call {call}: {name} runs {counted(calls, 'time')} in one pass; use {-calls} to {calls - 1}."
            )


def read_shape(outputs: Outputs, name: str, layout: Layout) -> tuple[int, ...]:
    """The layer's shape as ``(N, C, *grid)``; a ValueError where the layout reads none."""
    shape = outputs[name].shape
    if shape is None:
        raise ValueError(f"Layer {name!r} hands over no tensor; use the Python interface with a layout of your own.")
    read = apply_layout(layout, torch.empty(shape, device="meta"), name)
    check_layout(layout, read.shape, (1, 1, *outputs.size), name)
    return tuple(read.shape)


@dataclass(frozen=True)
class Reading:
    """How the outputs are read, and what shows that, in words; None where nothing had to be found out."""

    layout: Layout
    words: str | None = None


def detect_layout(outputs: Outputs, names: Iterable[str] | None = None) -> Reading:
    """
    How the outputs of the named modules, None for all, are read.

    Channels come first, unless reading them last gives more resolutions. Tokens are read in the grid of a module that
    ran before, such as the convolution that made the patches, if that has as many units.
    """
    if len(outputs.size) == 1:
        return Reading("channels_first")
    names = list(outputs if names is None else names)
    first, last = (_grids(outputs, layout, names) for layout in ("channels_first", channels_last))
    resolutions = len(set(first.values())), len(set(last.values()))
    tensors = [shape for shape in (outputs[name].shape for name in names) if shape is not None]
    sequences = [shape for shape in tensors if len(shape) == 3]
    if max(resolutions) < 2 and len(sequences) > len(tensors) / 2:
        return _read_tokens(Counter(sequences).most_common(1)[0][0], _grids(outputs, "channels_first"))
    if resolutions[1] > resolutions[0]:
        return Reading(channels_last, "channels last, as the shapes of the outputs show")
    return Reading("channels_first")


def _read_tokens(shape: tuple[int, ...], grids: Mapping[str, tuple[int, ...]]) -> Reading:
    for name, grid in grids.items():
        prefix = shape[1] - math.prod(grid)
        if 0 <= prefix <= MOST_PREFIX:
            return Reading(tokens(prefix, grid), f"tokens:{prefix}, as the grid of {name}, {times(grid)}, shows")
    raise ValueError(_tokens_message(shape))


def _tokens_message(shape: tuple[int, ...]) -> str:
    length = shape[1]
    side = math.isqrt(length)
    prefix = length - side**2
    front = f" and the first {prefix} stand for no place (class token, registers)" * (prefix > 0)
    return (
        f"The layers hand over {length} tokens of {shape[2]} channels, whose places in the image only you know. Pass "
        f"--layout tokens{f':{prefix}' * (prefix > 0)} if they are {side} x {side} row by row{front}; without --layers "
        "the last layer is measured then."
    )


def _grids(outputs: Outputs, layout: Layout, names: Iterable[str] | None = None) -> dict[str, tuple[int, ...]]:
    """Layers whose units have the same stride on every axis, with their grids, in the order of the names or outputs."""
    grids = {}
    for name in outputs if names is None else names:
        try:
            grid = read_shape(outputs, name, layout)[2:]
        except (ValueError, TypeError, IndexError):
            continue
        if fits_input(grid, outputs.size) and max(grid) > 1:
            grids[name] = grid
    return grids


def default_layers(outputs: Outputs, layout: Layout) -> list[str]:
    """
    For every spatial resolution the last stage that produces it, in the order in which they run.

    A stage is a module of the network's own, or of a module that runs through resolutions of its own: ``relu``,
    ``layer1``, ..., ``layer4`` in ResNet-18, ``features.3``, ... in VGG-16. Single units, adaptive pooling, modules
    that run several times and those before the first weights do not count, nor do those after which the sum over
    channels is nearly constant: what ends in a layer norm, or sums to the same everywhere.
    """
    grids = _grids(outputs, layout)
    pooling = (nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
    unsuited = {name for name in grids if is_even(outputs, layout, name)}
    stages = [
        name
        for name in _stages("", _learned(outputs), grids, unsuited)
        if name not in unsuited and not isinstance(outputs.module(name), pooling)
    ]
    last = {grids[name]: name for name in sorted(stages, key=list(grids).index)}
    if not last:
        raise ValueError(
            f"No module of {type(outputs.model).__name__} hands over a grid of units; --list-layers shows what they "
            "hand over. Name layers with --layers and say how to read them with --layout, or use the Python interface."
        )
    return sorted(last.values(), key=list(grids).index)


def _learned(outputs: Outputs) -> list[str]:
    """The modules that run once, from the first that holds weights on."""
    once = [name for name, output in outputs.items() if output.calls == 1]
    first = (place for place, name in enumerate(once) if next(outputs.module(name).parameters(), None) is not None)
    return once[next(first, 0) :]


def is_even(outputs: Outputs, layout: Layout, name: str) -> bool:
    """Whether the sum over the layer's channels is nearly the same whatever the input."""
    axis = 1 if layout == "channels_first" else -1
    return axis in outputs[name].even_axes or _ends_in_layer_norm(outputs, name)


def _ends_in_layer_norm(outputs: Outputs, name: str) -> bool:
    """Whether the last that the module does, as far as its parts tell, is a layer norm over the channels."""
    if isinstance(outputs.module(name), nn.LayerNorm):
        return True
    parts = _parts(name, list(outputs))
    return bool(parts) and outputs[parts[-1]].shape == outputs[name].shape and _ends_in_layer_norm(outputs, parts[-1])


def _stages(parent: str, order: list[str], grids: Mapping[str, tuple[int, ...]], inner: AbstractSet[str]) -> list[str]:
    """Modules with a grid below the parent; of ``inner``, and where resolutions arise inside, the stages within."""
    found = []
    for name in _parts(parent, order):
        parts = _parts(name, order)
        before = order[: order.index(parts[0])] if parts else order
        known = {grids.get(other) for other in (*before, name)}
        if (name in inner and parts) or any(part in grids and grids[part] not in known for part in parts):
            found += _stages(name, order, grids, inner)
        elif name in grids:
            found.append(name)
    return found or [parent] * (parent in grids)


def _parts(parent: str, order: list[str]) -> list[str]:
    """The modules right below the parent among those that run, in the order in which they finish."""
    below = [name for name in order if name != parent and (not parent or name.startswith(f"{parent}."))]
    outer = set(below)
    return [name for name in below if not _ancestors(name) & outer]


def _ancestors(name: str) -> set[str]:
    pieces = name.split(".")
    return {".".join(pieces[:count]) for count in range(1, len(pieces))}
