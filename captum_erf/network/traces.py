"""The trace of a pass: what modules hand over, by its node in the autograd graph, and the work done so far.

Nodes through which all paths from a unit to the input lead are its dominators. In a graph without circles they are
found in one go: with the nodes in topological order, a node is a dominator where no edge jumps over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import Module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

ELEMENT = 32  # floating-point operations in the time that it takes to write one number


@dataclass(frozen=True, eq=False)
class Handed:
    """A tensor that a module has handed over, and the work of the pass up to there."""

    module: Module
    node: Node
    shape: tuple[int, ...]
    work: float


class Work(TorchDispatchMode):
    """Adds up the work of a pass: floating-point operations by torch's own formulas, and numbers written."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0.0
        self.written = 0

    @property
    def total(self) -> float:
        """Floating-point operations, and what writing the results costs in them."""
        return self.operations + ELEMENT * self.written

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            with suppress(Exception):  # a formula that does not know this form of the operator
                self.operations += formula(*args, **(kwargs or {}), out_val=result)
        if not func.is_view:
            self.written += sum(item.numel() for item in tree_leaves(result) if isinstance(item, Tensor))
        return result


@contextmanager
def traced(modules: Sequence[Module]) -> Iterator[list[Handed]]:
    """Lists what the modules hand over in the passes inside; the hooks are gone afterwards."""
    handed: list[Handed] = []
    work = Work()

    def note(module: Module, _args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.grad_fn is not None and output.output_nr == 0:
            handed.append(Handed(module, output.grad_fn, tuple(output.shape), work.total))

    with ExitStack() as stack:
        for module in modules:
            if not isinstance(module, torch.jit.ScriptModule):
                stack.callback(module.register_forward_hook(note).remove)
        stack.enter_context(work)
        yield handed


@dataclass(frozen=True)
class Paths:
    """The nodes on any path, and those on every path, from a tensor back to a leaf."""

    nodes: frozenset[Node]
    dominators: frozenset[Node]


def paths(output: Tensor, leaf: Tensor) -> Paths:
    """
    Walks the autograd graph from a tensor to a leaf that it depends on, in linear time.

    Examples::

        >>> x = torch.ones(2, requires_grad=True)
        >>> first = x.exp()
        >>> last = first.sin() + first.cos()
        >>> found = paths(last.sum(), x)
        >>> len(found.nodes), len(found.dominators), first.grad_fn in found.dominators
        (6, 4, True)
    """
    source, target = _node(output), leaf.view_as(leaf).grad_fn
    assert source is not None and target is not None
    order = _on_the_way(source, target.next_functions[0][0])
    rank = {node: number for number, node in enumerate(order)}
    dominators, furthest = [], 0
    for number, node in enumerate(order):
        if furthest <= number:
            dominators.append(node)
        furthest = max([furthest, *(rank[child] for child in _children(node) if child in rank)])
    return Paths(frozenset(order), frozenset(dominators))


def _node(output: Tensor) -> Node | None:
    return output.grad_fn


def _children(node: Node) -> list[Node]:
    return [child for child, _ in node.next_functions if child is not None]


def _on_the_way(source: Node, target: Node | None) -> list[Node]:
    """The nodes from which the target can be reached, each before those that it leads to."""
    arrives = {target: True}
    finished: list[Any] = [target]
    waiting: list[tuple[Node, bool]] = [(source, False)]
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            arrives[node] = any(arrives[child] for child in _children(node))
            if arrives[node]:
                finished.append(node)
        elif node not in arrives:
            arrives[node] = False
            waiting.append((node, True))
            waiting.extend((child, False) for child in _children(node) if child not in arrives)
    return finished[::-1]
