"""The states of a run's nodes: which are ready, which are settled. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from itertools import islice
from typing import Any

from cascade.runtime._graph.graph import Graph
from cascade.runtime._graph.items import MapItems
from cascade.runtime._graph.node import Kind, Node, Status
from cascade.runtime._support.loop_steps import FREED_PER_STEP, emptied


class RunState:
    """Moves nodes from waiting to ready to settled, and knows when the targets are."""

    def __init__(self) -> None:
        self.on_loop: deque[Node] = deque()
        """Ready: calls for the event loop, calls that look into a cache first, and structural steps."""
        self.offloaded: dict[str, deque[Node]] = {}
        """Ready: calls that need a worker at once, by mode."""
        self._full: set[MapItems] = set()
        """Maps whose own limit keeps items from starting, and maps that were so."""
        self.targets: set[Node] = set()
        """Those that are not settled."""

    @property
    def finished(self) -> bool:
        """Whether every target is settled."""
        return not self.targets

    @property
    def ready(self) -> bool:
        """Whether anything could be started."""
        return bool(self.on_loop) or any(self.offloaded.values())

    def waits_for_slot(self) -> int:
        """Return how many calls are ready and wait for a worker."""
        queues = self.offloaded.values()
        first = [node for queue in queues for node in islice(queue, _MAPS_LOOKED_AT)]
        of_maps = [node.items.unstarted - 1 for node in first if isinstance(node.items, MapItems)]
        return sum(map(len, queues)) + sum(of_maps)

    def over_map_limits(self) -> dict[str, int]:
        """Return how many items could start if the limit of their own map permitted it, by task."""
        self._full = {items for items in self._full if items.over_limit}
        found: dict[str, int] = {}
        for items in self._full:
            name = items.node.definition.name
            found[name] = found.get(name, 0) + items.over_limit
        return found

    def aim(self, targets: Iterable[Node]) -> None:
        """Make nodes the targets of the run; their values are kept."""
        for node in targets:
            node.readers += 1
            if node.status is _WAITING:
                self.targets.add(node)

    def admit(self, nodes: Iterable[Node]) -> None:
        """Add new nodes; those that wait for nothing become ready."""
        for node in nodes:
            node.unmet -= 1
            if not node.unmet:
                self._arrive(node)

    def complete(self, node: Node, value: Any) -> None:
        """Record a value; dependents that waited for nothing else become ready."""
        node.value = value
        node.status = _DONE
        self._settle(node)

    def fail(self, node: Node) -> None:
        """Record a failure: nodes that take the value will be skipped."""
        node.status = Status.FAILED
        self._mark_dependents(node)

    def skip(self, node: Node, *, by_failure: bool) -> None:
        """Record that a node does not run; ``by_failure`` says that a failure is the reason."""
        node.status = Status.SKIPPED
        node.skipped_by_failure = by_failure
        self._mark_dependents(node)

    def resume(self, node: Node) -> None:
        """Look again at a node that was given new inputs, or at a map whose items are known now."""
        if not node.unmet:
            self._arrive(node)

    def begin_items(self, node: Node) -> None:
        """Make nodes of the next items of a map, and put them where the map stood, at the front of its queue."""
        items = node.items
        assert isinstance(items, MapItems)
        queue = self._queue_of(node)
        made = items.take(_ITEMS_AT_ONCE)
        items.is_queued = items.unstarted > 0 and items.has_room
        if items.is_queued:
            queue.appendleft(node)
        elif items.unstarted:
            self._full.add(items)
        queue.extendleft(reversed(made))

    def _mark_dependents(self, node: Node) -> None:
        for dependent in node.all_dependents:
            dependent.input_failed = True
        self._settle(node)

    def _settle(self, node: Node) -> None:
        self.targets.discard(node)
        node.scope.release(node)
        if node.dependents is not None:
            dependents = node.all_dependents
            node.dependents = None
            for dependent in dependents:
                dependent.unmet -= 1
                if not dependent.unmet:
                    self._arrive(dependent)
        if node.origin is not None and node.origin.is_map:
            self._leave(node)

    def _arrive(self, node: Node) -> None:
        if node.origin is None and node.items is None and node.definition.on_loop:
            self.on_loop.append(node)
            return
        if node.kind is _CALL or node.kind is _RECORDED:
            items = _items_around(node)
            if items is not None:
                if not items.has_room:
                    items.waiting.append(node)
                    self._full.add(items)
                    return
                items.running += 1
        elif isinstance(node.items, MapItems) and node.items.unstarted:
            node.unmet = node.items.unstarted
            node.items.input_failed = node.input_failed
            node.items.is_queued = True
        self._queue_of(node).append(node)

    def _leave(self, node: Node) -> None:
        """Note that an item of a map is settled, and start another one that has waited for that."""
        items = _items_around(node)
        assert items is not None
        items.settle(node)
        if items.waiting:
            items.running += 1
            following = items.waiting.popleft()
        elif items.unstarted and not items.is_queued:
            (following,) = items.take(1)
        else:
            if self._full:
                self._full.discard(items)
            return
        self._queue_of(following).append(following)

    def _queue_of(self, node: Node) -> deque[Node]:
        """Return the queue in which a node, or the items of a map, wait to be started."""
        definition = node.definition
        if node.kind is _CALL:
            input_failed = node.input_failed
        elif isinstance(node.items, MapItems) and node.items.unstarted:
            input_failed = node.items.input_failed
        else:
            return self.on_loop
        if definition.on_loop or input_failed or node.call.settings.policies.cache is not None:
            return self.on_loop
        return self.offloaded.setdefault(definition.mode, deque())


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


def _items_around(node: Node) -> MapItems | None:
    """Return the items of the map that a node is one of."""
    return node.origin if isinstance(node.origin, MapItems) else None


def why_skipped(node: Node) -> tuple[str, bool] | None:
    """Return why a node whose inputs are settled must not run, and whether a failure is the reason.

    A failed input is a reason; so is one that was skipped, if its value would be taken or a
    failure was the reason there. A failure takes precedence, whatever the order of the inputs.
    For a map that has begun, its items are its inputs.
    """
    if isinstance(node.items, MapItems):
        return node.items.why_skipped()
    skipped: str | None = None
    for position, needed in enumerate(node.inputs):
        if needed.status is Status.FAILED:
            return f"{needed.key} failed", True
        if needed.status is Status.SKIPPED:
            if needed.skipped_by_failure:
                return f"{needed.key} was skipped", True
            if skipped is None and position < node.width:
                skipped = needed.key
    return (f"{skipped} was skipped", False) if skipped is not None else None


_WAITING, _DONE = Status.WAITING, Status.DONE  # asked for each node
_CALL, _RECORDED = Kind.CALL, Kind.RECORDED

# nodes of a queue among which maps are counted with all their items
_MAPS_LOOKED_AT = 1_000
_ITEMS_AT_ONCE = 64
"""How many items of a map get their nodes in one step."""
