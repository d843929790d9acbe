"""Guards: the network and the process are as they were afterwards, whatever happens.

What is guarded is what the forward function shows (see :mod:`captum_erf.network.reach`); no hook is global, and no
module of another thread is touched.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from .batch import Batch
from .network import Network

DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)


@contextmanager
def gradients_enabled() -> Iterator[None]:
    """Gradients are recorded, whatever the caller has switched off around us."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def eager() -> Iterator[None]:
    """Compiled code would skip the hooks."""
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def unchanged(modules: Sequence[Module], *, eval_mode: bool) -> Iterator[None]:
    """Gives every module its training flag and its buffers back.

    Flags are set one by one: ``Module.eval`` may be overridden to do more than that.
    """
    kept = [_Kept(module, eval_mode) for module in modules if module._buffers or module.training]
    try:
        if eval_mode:
            for state in kept:
                state.module.training = False
        yield
    finally:
        for state in kept:
            state.restore()


class _Kept:
    """A module's training flag and buffers as they were; batch norm in evaluation mode writes none."""

    def __init__(self, module: Module, eval_mode: bool) -> None:
        self.module, self.training = module, module.training
        self.buffers: dict[str, Tensor | None] = dict(module._buffers.items())
        is_norm = isinstance(module, _BatchNorm) and type(module).forward is _BatchNorm.forward
        reads_only = is_norm and (eval_mode or not module.training)
        self.values = {
            name: (buffer.detach().clone(), buffer._version)
            for name, buffer in self.buffers.items()
            if buffer is not None and not buffer.is_inference() and not reads_only
        }

    def restore(self) -> None:
        # Batch norm in training mode writes its running statistics without a new version.
        silent = self.module.training
        if silent != self.training:
            self.module.training = self.training
        for name, buffer in self.buffers.items():
            self.module._buffers[name] = buffer
        for name, (value, version) in self.values.items():
            buffer = self.buffers[name]
            assert buffer is not None
            if buffer._version != version or (silent and not torch.equal(buffer, value)):
                with torch.no_grad():
                    buffer.copy_(value)


@contextmanager
def same_attributes(modules: Sequence[Module]) -> Iterator[None]:
    """Gives every module the attributes back that a pass sets, such as masks and window sizes fitted to its input."""
    eager_modules = [module for module in modules if not isinstance(module, torch.jit.ScriptModule)]
    kept = [(vars(module), dict(vars(module))) for module in eager_modules]
    try:
        yield
    finally:
        for attributes, before in kept:
            for name in attributes.keys() - before.keys():
                del attributes[name]
            attributes.update(before)


@contextmanager
def aside(network: Network, batch: Batch) -> Iterator[None]:
    """
    For a look at the network on the side: eval mode, no gradients, random state and warnings left alone.

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
    device = batch.measured.device
    with ExitStack() as stack:
        stack.enter_context(unchanged(network.modules, eval_mode=True))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(eager())
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


class Unseen(TorchFunctionMode):
    """Notices what behaves as in training although every module in sight is in evaluation mode, in this thread alone.

    It is part of a module that the forward function does not show, or a function called with ``training=True``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, None] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        drops = func in DROPOUTS and given.get("p", 0.5) > 0
        updates = func is F.batch_norm and args[1] is not None
        if (drops or updates) and given.get("training", drops):
            self.names[func.__name__] = None
        return func(*args, **given)
