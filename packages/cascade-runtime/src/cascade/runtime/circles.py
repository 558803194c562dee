"""Whether nodes of a graph that grows would wait for each other. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cascade.runtime.node import Node, Status


def waits_for(later: Node, earlier: Node) -> bool:
    """Return whether one node waits for another, or is the other.

    Searched from both ends at once: it costs what the smaller side costs.
    """
    backwards = _reached(later, lambda node: node.inputs)
    forwards = _reached(earlier, lambda node: node.dependents)
    return any(a is earlier or b is later for a, b in zip(backwards, forwards, strict=False))


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
