"""Free in steps what a run leaves: to free very many objects at once would hold the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

from cascade.runtime._graph.graph import Graph
from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.state import RunState
from cascade.runtime._support.pace import FREED_PER_STEP, emptied


def freed(targets: list[Node], state: RunState, graph: Graph) -> Generator[None, None, None]:
    """Forget the nodes of a run that is over; those first that others are inputs of."""
    yield from emptied(targets)
    waiting: list[deque[Node] | set[Node]] = [state.on_loop, *state.offloaded.values(), state.targets]
    for nodes in waiting:
        while nodes:
            for _ in range(min(len(nodes), FREED_PER_STEP)):
                nodes.pop()
            yield
    forgotten = graph.forget_last(FREED_PER_STEP)
    while last := graph.forget_last(FREED_PER_STEP):
        forgotten += last
        yield
    yield from emptied(forgotten)
