"""The states of a run's nodes: what is ready, what is done. Pure; who runs them is elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from cascade.runtime.graph import Kind, Node, release_inputs


class RunState:
    """Moves nodes from waiting to ready to done, and knows when the targets are."""

    def __init__(self) -> None:
        self.on_loop: deque[Node] = deque()
        """Ready: calls for the event loop, and maps to expand."""
        self.offloaded: deque[Node] = deque()
        """Ready: calls for the executor."""
        self._targets: set[Node] = set()

    @property
    def finished(self) -> bool:
        """Whether every target is done."""
        return not self._targets

    def aim(self, targets: Iterable[Node]) -> None:
        """Name nodes that are not done as what the run is for; their values are kept."""
        for node in targets:
            node.readers += 1
            self._targets.add(node)

    def admit(self, nodes: Iterable[Node]) -> None:
        """Take new nodes in; those that wait for nothing become ready."""
        for node in nodes:
            if not node.waiting:
                self._arrive(node)

    def complete(self, node: Node, value: Any) -> None:
        """Record a value; whoever waited for nothing else becomes ready."""
        node.value = value
        node.done = True
        self._targets.discard(node)
        release_inputs(node)
        dependents, node.dependents = node.dependents, []
        for dependent in dependents:
            dependent.waiting -= 1
            if not dependent.waiting:
                self._arrive(dependent)

    def _arrive(self, node: Node) -> None:
        if node.kind is Kind.CALL and not node.definition.on_loop:
            self.offloaded.append(node)
        else:
            self.on_loop.append(node)


def gathered(node: Node) -> list[Any]:
    """Return the value of a gathering whose inputs are done."""
    return [needed.value for needed in node.inputs[: node.width]]
