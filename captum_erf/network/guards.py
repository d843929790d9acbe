"""Guards: the network and the process are as they were afterwards, whatever happens.

What is guarded is what the forward function shows (see :mod:`captum_erf.network.reach`); no hook is global, and no
module of another thread is touched.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from .batch import Batch
from .calls import calls_key, remember_calls
from .layers import unwrap
from .looks import Look
from .network import Network
from .reach import Reach
from .state import Structure, Values, all_tensors, changed_weights

_set_up: WeakSet[Module] = WeakSet()  # modules that have run here undisturbed
_guards: ContextVar[Guards | None] = ContextVar("_guards", default=None)  # those around


@dataclass(frozen=True)
class Guards:
    """Guards within each other: their modules, and the structure of the innermost one's."""

    modules: dict[Module, None]
    structure: Structure


@contextmanager
def gradients_enabled() -> Iterator[None]:
    """Gradients are recorded, whatever the caller has switched off around us."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """
    Numbers too small for a float's full precision count as zero, in this thread and on the CPU.

    Gradients fade out into them, as those of a ConvNeXt that is not trained, and computing with them takes up to a
    hundred times as long. They are 1e-37 at most.
    """
    was_on = sys.float_info.min / 2 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_on)


@contextmanager
def eager() -> Iterator[None]:
    """Compiled code would skip the hooks."""
    if "torch._dynamo" not in sys.modules:
        yield
    elif hasattr(torch.compiler, "set_stance"):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        with _eager_before_stances():
            yield


@contextmanager
def _eager_before_stances() -> Iterator[None]:
    """The stance "force_eager" for torch 2.4 and 2.5, whose ``torch._dynamo.config.disable`` outlasts the context."""
    frames: Any = sys.modules["torch._dynamo.eval_frame"]
    frames.set_eval_frame = lambda _callback: None
    try:
        yield
    finally:
        frames.set_eval_frame = torch._C._dynamo.eval_frame.set_eval_frame


@contextmanager
def unchanged(modules: Sequence[Module], *, eval_mode: bool, structure: Structure | None = None) -> Iterator[None]:
    """
    Gives every module back all that it holds, and tensors their values.

    Flags are set one by one: ``Module.eval`` may be overridden to do more than that. Of weights only those are compared
    that were seen to change in a pass before (see :func:`set_up`), or that a network in training mode may write to.
    ``structure`` is that of the modules, where it is known.
    """
    around = _guards.get()
    structure = structure or structure_of(modules)
    flags = [module for module in modules if module.training] if eval_mode else []
    try:
        for module in flags:
            module.training = False
        trains = any(module.training for module in modules)
        values = Values(all_tensors(modules) if trains else restless_tensors(structure))
        known = around.modules if around else {}
        token = _guards.set(Guards(known | dict.fromkeys(modules), structure))
        try:
            yield
        finally:
            _guards.reset(token)
            values.restore()
    finally:
        for module in flags:
            module.training = True
        structure.restore()


def guarded_modules(network: Network) -> Sequence[Module]:
    """The network's modules; where a guard is around, those that it has found, as no others stay."""
    around = _guards.get()
    shown = {network.forward_func, *(layer.module for layer in network.layers)}
    return list(around.modules) if around and shown <= around.modules.keys() else network.modules


def structure_of(modules: Sequence[Module]) -> Structure:
    """What modules hold; a guard around them knows where to look."""
    around = _guards.get()
    is_known = around is not None and around.structure.modules == modules
    return around.structure.again() if around and is_known else Structure(modules)


def restless_tensors(structure: Structure) -> list[Tensor]:
    """What passes are likely to write to."""
    return changed_weights(structure.modules) + structure.restless


@contextmanager
def one_pass(modules: Sequence[Module]) -> Iterator[None]:
    """
    Gives every module back what a pass sets, such as masks and window sizes fitted to its input.

    Values come back as well, but not those that a backward pass may still need.
    """
    structure = structure_of(modules)
    values = Values(() if torch.is_grad_enabled() else restless_tensors(structure))
    try:
        yield
    finally:
        structure.restore()
        values.restore()


@contextmanager
def aside(network: Network, batch: Batch) -> Iterator[Look | None]:
    """
    For a look at the network on the side: eval mode, no gradients, random state and warnings left alone.

    What its first pass has shown is given, where this was it.

    Examples::

        >>> from torch import nn
        >>> from captum_erf.network.passes import run
        >>> network, batch = Network.of(nn.Dropout(0.5), [""]), Batch((torch.ones(1, 1, 4),))
        >>> with aside(network, batch):
        ...     print(run(network, batch)[0])
        tensor([[[1., 1., 1., 1.]]])
        >>> network.forward_func.training
        True
    """
    found = set_up(network, batch)
    guarded = unchanged(list(found.reach.modules), eval_mode=True)
    with guarded, quiet(batch.measured.device):
        yield found.look


@contextmanager
def quiet(device: torch.device) -> Iterator[None]:
    """Nothing is recorded, and random state and warnings are left alone."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(eager())
        stack.enter_context(same_random_numbers(device))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


@contextmanager
def same_random_numbers(device: torch.device) -> Iterator[None]:
    """
    Whoever draws random numbers next, of torch, NumPy or Python, gets those that would have come.

    The generators are the process's own: what another thread draws from them meanwhile it draws once more.
    """
    ours, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)  # noqa: NPY002


@contextmanager
def seeded(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """
    Whatever is random inside comes from a generator, and all other generators stay as they are; None changes nothing.

    Examples::

        >>> before = torch.get_rng_state()
        >>> with seeded(torch.Generator().manual_seed(0), torch.device("cpu")):
        ...     first = torch.rand(3)
        >>> with seeded(torch.Generator().manual_seed(0), torch.device("cpu")):
        ...     print(torch.equal(torch.rand(3), first))
        True
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**32, (), generator=generator, device=generator.device))
    with same_random_numbers(device):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@dataclass
class SetUp:
    """
    A network that has set itself up.

    Attributes:
        reach (Reach): What it shows from then on.
        look (Look, optional): What the first pass has shown of a batch's usable sample, where it has left no trace.
    """

    reach: Reach
    look: Look | None = None


def set_up(network: Network, batch: Batch) -> SetUp:
    """
    Lets a network that was never run here set itself up: one undisturbed pass over one sample, before anything is
    remembered of it.

    Where the pass adds children, weights, buffers or hooks, all that it has set up stays. Else, and where it fails,
    all goes; the passes that follow put back what each of them sets up. All weights are compared here, once: what one
    pass writes to them the others write, too.

    Examples::

        >>> from torch import nn
        >>> class Lazy(nn.Module):
        ...     def forward(self, x):
        ...         if not hasattr(self, "norm"):
        ...             self.norm = nn.Identity()
        ...         return self.norm(x)
        >>> model = Lazy()
        >>> found = set_up(Network.of(model, [""]), Batch((torch.ones(1, 1, 4),)))
        >>> model
        Lazy(
          (norm): Identity()
        )
    """
    reach = network.reach
    modules = list(reach.modules)
    if all(module in _set_up for module in modules):
        return SetUp(reach)
    flags = [module for module in modules if module.training]
    structure, values = Structure(modules), Values(all_tensors(modules))
    look, is_whole, has_grown = Look(network), False, False
    try:
        for module in flags:
            module.training = False
        with suppress(Exception), quiet(batch.measured.device):
            sample = batch.usable_sample()
            key = calls_key(network, sample)
            with look.looking(), look.recorder.watching():
                unwrap(network.forward_func)(*sample.given, *sample.arguments)
            has_grown = structure.has_grown()
            is_whole = not (has_grown or network.is_parallel)
            if is_whole:
                remember_calls(network, key, look.calls)
    finally:
        for module in flags:
            module.training = True
        if not has_grown:
            structure.restore()
            values.restore()
    reach = network.reach
    _set_up.update(reach.modules)
    return SetUp(reach, look if is_whole else None)
