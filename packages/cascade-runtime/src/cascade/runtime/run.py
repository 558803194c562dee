"""The states of a run's nodes: what is ready, what is settled. Pure; who runs them is elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from cascade.runtime.node import Kind, Node, Status


class RunState:
    """Moves nodes from waiting to ready to settled, and knows when the targets are."""

    def __init__(self) -> None:
        self.on_loop: deque[Node] = deque()
        """Ready: calls for the event loop, those that look into a cache first, and steps of the graph itself."""
        self.offloaded: dict[str, deque[Node]] = {}
        """Ready: calls that need a worker at once, by mode."""
        self._targets: set[Node] = set()

    @property
    def finished(self) -> bool:
        """Whether every target is settled."""
        return not self._targets

    @property
    def ready(self) -> bool:
        """Whether anything could be started."""
        return bool(self.on_loop) or any(self.offloaded.values())

    def aim(self, targets: Iterable[Node]) -> None:
        """Name nodes as what the run is for; their values are kept."""
        for node in targets:
            node.readers += 1
            if node.status is Status.WAITING:
                self._targets.add(node)

    def admit(self, nodes: Iterable[Node]) -> None:
        """Take new nodes in; those that wait for nothing else become ready."""
        for node in nodes:
            node.waiting -= 1
            if not node.waiting:
                self._arrive(node)

    def complete(self, node: Node, value: Any) -> None:
        """Record a value; whoever waited for nothing else becomes ready."""
        node.value = value
        node.status = Status.DONE
        self._settle(node)

    def fail(self, node: Node) -> None:
        """Record a failure: what takes the value will be skipped."""
        node.status = Status.FAILED
        self._trouble(node)

    def skip(self, node: Node, *, broken: bool) -> None:
        """Record that a node does not run; ``broken`` says that a failure is the reason."""
        node.status = Status.SKIPPED
        node.broken = broken
        self._trouble(node)

    def resume(self, node: Node) -> None:
        """Look again at a node that was given new inputs."""
        if not node.waiting:
            self.on_loop.append(node)

    def _trouble(self, node: Node) -> None:
        for dependent in node.dependents:
            dependent.troubled = True
        self._settle(node)

    def _settle(self, node: Node) -> None:
        self._targets.discard(node)
        node.scope.release(node)
        dependents, node.dependents = node.dependents, []
        for dependent in dependents:
            dependent.waiting -= 1
            if not dependent.waiting:
                self._arrive(dependent)
        if node.group is not None:
            self._leave(node)

    def _arrive(self, node: Node) -> None:
        group = node.group
        if group is not None and node.kind is Kind.CALL:
            if group.running >= group.limit:
                group.waiting.append(node)
                return
            group.running += 1
        self._line_up(node)

    def _leave(self, node: Node) -> None:
        group = node.group
        assert group is not None
        node.group = None
        group.running -= 1
        if group.waiting:
            group.running += 1
            self._line_up(group.waiting.popleft())

    def _line_up(self, node: Node) -> None:
        definition = node.definition
        if (
            node.kind is Kind.CALL
            and not definition.on_loop
            and not node.troubled
            and node.call.policies.cache is None
        ):
            self.offloaded.setdefault(definition.mode, deque()).append(node)
        else:
            self.on_loop.append(node)


def why_skipped(node: Node) -> tuple[str, bool] | None:
    """Return why a node whose inputs are settled must not run, and whether a failure is the reason.

    A failed input is a reason; so is one that was skipped, if its value would be taken or a
    failure was the reason there. A failure is told first, whatever the order of the inputs.
    """
    skipped: str | None = None
    for position, needed in enumerate(node.inputs):
        if needed.status is Status.FAILED:
            return f"{needed.task_id} failed", True
        if needed.status is Status.SKIPPED:
            if needed.broken:
                return f"{needed.task_id} was skipped", True
            if skipped is None and position < node.width:
                skipped = needed.task_id
    return (f"{skipped} was skipped", False) if skipped is not None else None


def gathered(node: Node) -> list[Any]:
    """Return the value of a gathering whose inputs are done."""
    return [needed.value for needed in node.inputs[: node.width]]
