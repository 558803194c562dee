"""Cycles in a graph that expands: nodes that would wait for each other. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat

from cascade.runtime._graph.node import Node, Status


def waits_for(later: Node, earlier: Node) -> bool:
    """Return whether one node waits for another, or is the other.

    Searched from both ends at once: it costs what the smaller side costs. A map does not know the
    nodes of its items; where one is reached, only the search from the other end decides.
    """
    backwards = _reached(later, _inputs)
    forwards = _reached(earlier, lambda node: node.all_dependents)
    return any(a is earlier or b is later for a, b in zip(backwards, forwards, strict=False))


def _inputs(node: Node) -> Iterable[Node]:
    return chain(node.inputs, repeat(node)) if node.items is not None else node.inputs


def _reached(start: Node, neighbours: Callable[[Node], Iterable[Node]]) -> Iterator[Node]:
    """Yield each node next to one that is reached and not settled, beginning with ``start``."""
    seen: set[Node] = set()
    stack = [iter((start,))]
    while stack:
        node = next(stack[-1], None)
        if node is None:
            stack.pop()
            continue
        yield node
        if node.status is Status.WAITING and node not in seen:
            seen.add(node)
            stack.append(iter(neighbours(node)))
