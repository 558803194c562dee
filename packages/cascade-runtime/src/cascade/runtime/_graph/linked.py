"""The nodes of one graph: found by their calls, linked to what they need, their values released. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cascade.interfaces import UsageError
from cascade.runtime._graph.alternatives import RouteRefCounts
from cascade.runtime._graph.node import Kind, Node, Status
from cascade.spec import Call, LazyResult, call_of, substitute

_NOTHING: Mapping[str, Any] = {}
_WAITING, _DONE = Status.WAITING, Status.DONE  # asked for each node


class NodeIndex:
    """The nodes of one graph by their calls; other calls are looked up further out.

    However many graphs lie around this one, that costs two lookups. Only a call of a graph between
    this one and the outermost costs more, once: then it is remembered here.
    """

    __slots__ = ("_between", "_nodes", "_outermost", "_parent")

    def __init__(self, parent: NodeIndex | None = None) -> None:
        self._parent = parent
        self._nodes: dict[Call, Node] = {}
        self._outermost: dict[Call, Node] = parent._outermost if parent is not None else self._nodes
        self._between: Counter[Call] = parent._between if parent is not None else Counter()
        """How many indexes, without the outermost, know each call."""

    @property
    def find(self) -> Callable[[Call], Node | None]:
        """Function that returns the node of a call, if it has one; get it once and call it often."""
        return self._nodes.get if self._parent is None else self._find

    @property
    def enter(self) -> Callable[[Call, Node], None]:
        """Function that adds the node of a call; get it once, too."""
        return self._nodes.__setitem__ if self._parent is None else self._enter

    def __len__(self) -> int:
        return len(self._nodes)

    def forget(self, call: Call) -> None:
        """Forget the node of a call, if it was entered here."""
        if self._nodes.pop(call, None) is not None and self._parent is not None:
            self._count_down(call)

    def clear(self) -> None:
        """Forget every node, so that a long chain of them is freed link by link."""
        if self._parent is not None:
            for call in self._nodes:
                self._count_down(call)
        self._nodes.clear()

    def forget_last(self, most: int) -> list[Node]:
        """Forget and return the nodes that were entered last into the outermost index, and what waits for them."""
        nodes = self._nodes
        last = [nodes.popitem()[1] for _ in range(min(most, len(nodes)))]
        for node in last:
            node.dependents = None
        return last

    def _count_down(self, call: Call) -> None:
        self._between[call] -= 1
        if not self._between[call]:
            del self._between[call]

    def _enter(self, call: Call, node: Node) -> None:
        self._nodes[call] = node
        self._between[call] += 1

    def _find(self, call: Call) -> Node | None:
        node = self._nodes.get(call) or self._outermost.get(call)
        return self._find_between(call) if node is None and call in self._between else node

    def _find_between(self, call: Call) -> Node | None:
        lookup = self._parent
        while lookup is not None:
            node = lookup._nodes.get(call)
            if node is not None:
                self._enter(call, node)
                return node
            lookup = lookup._parent
        return None


class LinkedNodes:
    """The nodes of one graph, and the links between them: each takes values, and keeps its own while others need it.

    A graph inside another one finds the nodes of that one, too.
    """

    def __init__(self, parent: LinkedNodes | None) -> None:
        self._lookup: NodeIndex = NodeIndex(parent._lookup if parent is not None else None)
        self.find = self._lookup.find
        """Gives the node of a call, if it has one here or further out."""
        self._enter = self._lookup.enter
        self._route_counts: RouteRefCounts = parent._route_counts if parent is not None else RouteRefCounts()

    def __len__(self) -> int:
        return len(self._lookup)

    def node(self, lazy: LazyResult[Any]) -> Node:
        """Return the node of a lazy result that has been built."""
        node = self.find(call_of(lazy))
        assert node is not None
        return node

    def nodes(self, lazies: Iterable[LazyResult[Any]]) -> list[Node]:
        """Return the nodes of lazy results that have been built."""
        find: Callable[[Call], Any] = self.find
        return [find(call_of(lazy)) for lazy in lazies]

    def arguments(self, node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what to call the node's function with, now that its inputs are done."""
        if node.nested:
            args, kwargs = substitute((node.args, dict(node.kwargs)), self._value)
            return args, kwargs
        args, named = node.args, node.kwargs
        if node.inputs:
            args = tuple([a.value if type(a) is Node else a for a in args])
            return args, {k: a.value if type(a) is Node else a for k, a in named.items()} if named else {}
        return args, {**named} if named else {}

    def release(self, node: Node) -> None:
        """Release what only ``node`` kept, now that it is settled: values, and its expansion."""
        counted = self._route_counts.counts
        for needed in node.inputs:
            needed.readers -= 1
            if not needed.readers and not (counted and needed.call in counted):
                needed.value = None
        node.inputs = node.args = ()
        node.kwargs = _NOTHING
        if node.keeps_alternatives:
            self._release_alternatives(node)
        if node.expansion is not None:
            node.expansion.clear()
            node.expansion = None

    def clear(self) -> None:
        """Forget every node."""
        self._lookup.clear()

    def forget_last(self, most: int) -> list[Node]:
        """Forget and return some of the nodes of a run that is over: those that were opened last, unlinked."""
        return self._lookup.forget_last(most)

    def _value(self, lazy: LazyResult[Any]) -> Any:
        return self.node(lazy).value

    def _is_plain(self, lazy: LazyResult[Any]) -> bool:
        """Return whether a value is a list or tuple that a task returned: the scheduler has looked into it."""
        node = self.node(lazy)
        is_task = node.kind is Kind.CALL and not node.definition.structural
        return is_task and isinstance(node.value, list | tuple)

    def _take_nodes(self, node: Node) -> None:
        """Put nodes in the places of the lazy results that are arguments of a call."""
        settings = node.call.settings
        # where every argument is a lazy result, one tuple serves as inputs and as arguments
        if (
            node.width == len(node.args)
            and not node.kwargs
            and settings.condition is None
            and not settings.policies.demands
        ):
            node.args = node.inputs[: node.width]
            return
        find = self.node
        node.args = tuple([find(a) if isinstance(a, LazyResult) else a for a in node.args])
        if node.kwargs:
            node.kwargs = {k: find(a) if isinstance(a, LazyResult) else a for k, a in node.kwargs.items()}

    def _link(self, node: Node, lazies: tuple[LazyResult[Any], ...], width: int) -> None:
        """Have a node wait for calls, all of which have been built, and take the values of the first ``width``."""
        inputs = tuple(self.nodes(lazies))
        for needed in inputs[:width]:
            if needed.status is _DONE:
                self._check_kept(needed)
        node.width = width
        node.inputs = inputs
        for needed in inputs:
            needed.readers += 1
            if needed.status is _WAITING:
                if needed.dependents is None:
                    needed.dependents = node
                else:
                    needed.add_dependent(node)
                node.unmet += 1
            elif needed.status is not _DONE:
                node.input_failed = True

    def _check_kept(self, done: Node) -> None:
        """Refuse a node that is done and has not kept its value."""
        if not done.readers and done.call not in self._route_counts.counts:
            raise UsageError(
                f"{done.key!r} is done and its value has been released; "
                "pass every result that the returned calls need to the task as an argument"
            )

    def _release_alternatives(self, node: Node) -> None:
        node.keeps_alternatives = False
        for freed in self._route_counts.remove(node.call):
            kept = self.find(freed)
            if kept is not None and not kept.readers and kept.status is Status.DONE:
                kept.value = None
