"""The trace of a pass: what modules hand over, by its node in the autograd graph, and the work done so far.

Nodes through which all paths from a unit to the input lead are its dominators. In a graph without circles they are
found in one go: with the nodes in topological order, the next node that all paths from a node have in common is the
first at which the chains of its neighbours meet (Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm").
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
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from .operators import OperatorMode

ELEMENT = 32  # floating-point operations in the time that it takes to write one number


@dataclass(frozen=True, eq=False)
class Handed:
    """A tensor that a module has handed over, and the work of the pass up to there."""

    module: Module
    node: Node
    shape: tuple[int, ...]
    work: float


class Work(OperatorMode):  # type: ignore[no-untyped-call]
    """
    Adds up the work of a pass: floating-point operations by torch's own formulas, and numbers written.

    ``decides`` tells whether something has made whole numbers or truth values of activations, which can lead to a
    decision that no gradient shows: a comparison, a ranking, a number that goes to Python. Pooling does not count.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0.0
        self.written = 0
        self.decides = False

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
        results = [item for item in tree_leaves(result) if isinstance(item, Tensor)]
        if not func.is_view:
            self.written += sum(item.numel() for item in results)
        is_local = "pool" in func.overloadpacket.__name__
        if not is_local and any(isinstance(item, Tensor) and item.is_floating_point() for item in args):
            self.decides |= not results or not all(item.is_floating_point() for item in results)
        return result


@contextmanager
def traced(modules: Sequence[Module]) -> Iterator[tuple[list[Handed], Work]]:
    """Lists what the modules hand over in the passes inside, and adds up the work; the hooks are gone afterwards."""
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
        yield handed, work


@dataclass(frozen=True)
class Paths:
    """
    All paths in the autograd graph from a tensor back to a leaf that it depends on.

    Attributes:
        nodes (list[Node]): Those on any of the paths, each before those that it leads to.
        toward_unit, toward_leaf (dict[Node, Node]): For each node the next one that all paths from it to the tensor,
            or to the leaf, have in common.
    """

    nodes: list[Node]
    toward_unit: dict[Node, Node]
    toward_leaf: dict[Node, Node]

    @classmethod
    def between(cls, output: Tensor, leaf: Tensor) -> Paths:
        """
        Walks the graph once from the tensor to the leaf, and once more either way.

        Examples::

            >>> x = torch.ones(2, requires_grad=True)
            >>> first = x.exp()
            >>> last = first.sin() + first.cos()
            >>> found = Paths.between(last.sum(), x)
            >>> len(found.nodes), len(found.dominators), first.grad_fn in found.dominators
            (6, 4, True)
        """
        source, target = output.grad_fn, leaf.view_as(leaf).grad_fn
        assert source is not None and target is not None
        nodes = _on_the_way(source, target.next_functions[0][0])
        known = set(nodes)
        after = {node: [child for child in _children(node) if child in known] for node in nodes}
        before: dict[Node, list[Node]] = {node: [] for node in nodes}
        for node in nodes:
            for child in after[node]:
                before[child].append(node)
        return cls(nodes, _common(nodes, before), _common(nodes[::-1], after))

    @property
    def dominators(self) -> set[Node]:
        """The nodes that all paths lead through."""
        return {self.nodes[0], *_chain(self.toward_leaf, self.nodes[0])}

    def ends(self, start: Node) -> Iterator[Node]:
        """The nodes that close a branch which opens behind a node: no path gets in or out but through the two."""
        for end in _chain(self.toward_unit, start):
            if start in _chain(self.toward_leaf, end):
                yield end


def _chain(following: dict[Node, Node], node: Node) -> Iterator[Node]:
    while node in following:
        node = following[node]
        yield node


def _common(nodes: Sequence[Node], sources: dict[Node, list[Node]]) -> dict[Node, Node]:
    """For each node but the first, the last one before it that is on all its paths; sources come before it."""
    following: dict[Node, Node] = {}
    depth = {nodes[0]: 0}
    for node in nodes[1:]:
        found, *others = sources[node]
        for other in others:
            while found is not other:
                if depth[found] >= depth[other]:
                    found = following[found]
                else:
                    other = following[other]
        following[node], depth[node] = found, depth[found] + 1
    return following


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
