"""The graph of one run: built from calls, without recursion and without running anything."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from cascade.interfaces import UsageError
from cascade.runtime.arguments import Search, inputs_of, substitute
from cascade.runtime.building import Build
from cascade.runtime.circles import waits_for
from cascade.runtime.lookup import Lookup
from cascade.runtime.maps import calls_of, columns_of, has_to_wait
from cascade.runtime.node import Group, Kind, Node, Status
from cascade.runtime.routes import Pins, chosen
from cascade.spec import Call, Input, LazyResult, MapCall, RouteCall, call_of

_NOTHING: Mapping[str, Any] = {}


class Graph:
    """The nodes of a run, or of what one call in it grew into: one for each call that is reached.

    A graph that another one grew sees the nodes of that one too, and so on outwards.
    """

    def __init__(self, parent: Graph | None = None) -> None:
        self._parent = parent
        self._root: Graph = parent._root if parent is not None else self
        self._lookup: Lookup = Lookup(parent._lookup if parent is not None else None)
        self.find = self._lookup.find
        """Gives the node of a call, if it has one here or further out."""
        self._enter = self._lookup.enter
        self._groups: dict[Call, Group] = {}
        self._pins: Pins = parent._pins if parent is not None else Pins()
        self._count = 0
        self.values: dict[Input, Any] = {}
        """Values from outside, known before anything runs; those of the root graph count."""
        self.dynamic = False
        """Whether there are inputs or routes: parts that a plain walk over the nodes does not show."""

    def __len__(self) -> int:
        return self._root._count

    def node(self, lazy: LazyResult[Any]) -> Node:
        """Return the node of a lazy result that has been built."""
        node = self.find(call_of(lazy))
        assert node is not None
        return node

    def build(
        self, lazies: Iterable[LazyResult[Any]], check: Callable[[Node], None] = lambda node: None
    ) -> Generator[list[Node], None, None]:
        """Add nodes for ``lazies`` and all that they reach, dependencies first.

        Yields the new nodes in lists, some of them empty, so that the caller can do something else
        in between; but nothing else may be built in the same run until the last one, or until the
        generator is closed. ``check`` is called with each node; what it raises ends the build.

        :raises UsageError: if a container was changed so that a task waits for itself.
        """
        return Build(self, lazies, check).steps()

    def arguments(self, node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what to call the node's function with, now that its inputs are done."""
        if node.nested:
            return substitute(node.args, self._value), substitute(dict(node.kwargs), self._value)
        args, kwargs = node.args, dict(node.kwargs)
        if node.inputs:
            args = tuple([a.value if type(a) is Node else a for a in args])
            kwargs = {k: a.value if type(a) is Node else a for k, a in kwargs.items()}
        return args, kwargs

    def items(self, node: Node) -> list[LazyResult[Any]]:
        """Return the calls of a map whose iterables are known: one for each item.

        :raises TaskCallError: if an iterable turned out to be none.
        :raises MapLengthError: if the iterables differ in length.
        """
        call = node.call
        assert isinstance(call, MapCall)
        return self._items(call, columns_of(call, self._value))

    def gather(self, node: Node, calls: list[LazyResult[Any]]) -> Node:
        """Turn a map into the gathering of its items' calls, which have been built; return it."""
        self.release(node)
        node.kind = Kind.GATHER
        self._link(node, calls, ())
        return node

    def route(self, node: Node) -> LazyResult[Any]:
        """Return the route that the selector's value chooses.

        :raises RouteError: if there is none for it.
        """
        assert isinstance(node.call, RouteCall)
        return chosen(node.call, node.inputs[node.width - 1].value)

    def continuation(self, node: Node) -> tuple[Graph, Node]:
        """Return where to build what ``node``'s call returned, and who takes its value.

        A call that was itself returned by another gives way: so a loop that goes on by returning
        its next step grows neither depth nor memory.
        """
        heir = _only_heir(node)
        if heir is None:
            return Graph(self), node
        node.status = Status.DONE
        self.release(node)
        self.clear()
        heir.grown = None
        return Graph(self._parent), heir

    def forward(self, node: Node, lazy: LazyResult[Any]) -> Node:
        """Let ``node`` take the value of another call, which has been built in this graph.

        Return who takes it: a route that was itself returned gives way, as a call does.

        :raises UsageError: if the other call waits for this one, or its value was let go.
        """
        found = self.node(lazy)
        self._check_kept(found)
        if waits_for(found, node):
            raise UsageError(
                f"{node.task_id!r} cannot take its value from a call that waits for {node.task_id!r} itself"
            )
        found.readers += 1  # so that its value outlives what is let go of here
        taker = self._give_way(node)
        self.release(taker)
        taker.kind = Kind.FORWARD
        taker.waiting = 0  # a step that gave way to this one will never be done
        self._link(taker, (lazy,), ())
        found.readers -= 1
        if taker.scope is not self:
            taker.grown = self
            if found.scope is self:
                found.heir = taker
        return taker

    def release(self, node: Node) -> None:
        """Let go of what only ``node`` kept, now that it is settled: values, and what it grew into."""
        pinned = self._pins.counts
        for needed in node.inputs:
            needed.readers -= 1
            if not needed.readers and not (pinned and needed.call in pinned):
                needed.value = None
        node.inputs = node.args = ()
        node.kwargs = _NOTHING
        if pinned and isinstance(node.call, RouteCall) and node.kind is Kind.ROUTE:
            self._unpin(node.call)
        if node.grown is not None:
            node.grown.clear()
            node.grown = None

    def clear(self) -> None:
        """Forget every node."""
        self._lookup.clear()

    def open(self, call: Call, search: Search) -> list[Call]:
        """Make the node of ``call``; return what has to be built before it."""
        node = Node(call, self)
        self._enter(call, node)
        if self._groups:
            node.group = self._groups.pop(call, None)
        taken = self._taken(node, search)
        condition = call.condition
        if condition is not None:
            taken = (condition.lazy, *taken)
        items_wait = node.kind is Kind.GATHER and taken  # each of them comes after the map's predecessors
        found = taken if items_wait else (*taken, *call.predecessors)
        node.inputs = found  # type: ignore[assignment] # until close() knows their nodes
        node.width = len(taken)
        missing = []
        for lazy in reversed(found):
            needed = call_of(lazy)
            known = self.find(needed)
            if known is None:
                missing.append(needed)
            elif known.index < 0:
                raise UsageError(
                    f"{lazy!r} waits for itself: a list or dict that it was called with was changed"
                )
        return missing

    def close(self, node: Node) -> None:
        """Link a node to what it needs, all of which has been built."""
        found: Any = node.inputs
        if found:
            width = node.width
            self._link(node, found[:width], found[width:])
            if node.kind is Kind.CALL and not node.nested:
                find = self.node
                node.args = tuple([find(a) if isinstance(a, LazyResult) else a for a in node.args])
                node.kwargs = {k: find(a) if isinstance(a, LazyResult) else a for k, a in node.kwargs.items()}
        root = self._root
        node.index = root._count
        root._count += 1

    def take_back(self, nodes: Iterable[Node]) -> None:
        """Forget nodes that were not admitted to the run, in any state: it is as if they had not been built."""
        gone = dict.fromkeys(nodes)
        linked = [node for node in gone if node.index >= 0]
        for needed in {needed for node in linked for needed in node.inputs} - gone.keys():
            needed.dependents = [each for each in needed.dependents if each not in gone]
        for node in linked:
            self.release(node)
        for node in gone:
            if node.index < 0 and isinstance(node.call, RouteCall):
                self._unpin(node.call)
            self._lookup.forget(node.call)

    def _value(self, lazy: LazyResult[Any]) -> Any:
        return self.node(lazy).value

    def _taken(self, node: Node, search: Search) -> tuple[LazyResult[Any], ...]:
        """Return the inputs whose values a new node takes, and see what kind of node it is."""
        call = node.call
        if type(call) is Call:
            taken, node.nested = inputs_of(call, search)
            return taken
        if isinstance(call, MapCall):
            return self._map_inputs(node, call, search)
        self._root.dynamic = True
        if isinstance(call, RouteCall):
            node.kind = Kind.ROUTE
            self._pins.hold(call)
            return call.args
        node.kind = Kind.INPUT
        return ()

    def _link(self, node: Node, taken: Iterable[LazyResult[Any]], before: Iterable[LazyResult[Any]]) -> None:
        find = self.node
        inputs = [find(lazy) for lazy in taken]
        for needed in inputs:
            self._check_kept(needed)
        node.width = len(inputs)
        inputs += [find(lazy) for lazy in before]
        node.inputs = tuple(inputs)
        for needed in inputs:
            needed.readers += 1
            if needed.status is Status.WAITING:
                needed.dependents.append(node)
                node.waiting += 1
            elif needed.status is not Status.DONE:
                node.troubled = True

    def _check_kept(self, needed: Node) -> None:
        if needed.status is Status.DONE and not needed.readers and needed.call not in self._pins.counts:
            raise UsageError(
                f"{needed.task_id!r} is done and its value was let go; a task that returns new calls "
                "must be given what those need as arguments"
            )

    def _give_way(self, node: Node) -> Node:
        """Settle a route whose value only its heir would read; return who takes the value instead."""
        heir = _only_heir(node)
        if heir is None:
            return node
        node.status = Status.DONE
        self.release(node)
        heir.grown = None  # for that is this graph, which goes on
        return heir

    def _map_inputs(self, node: Node, call: MapCall, search: Search) -> tuple[LazyResult[Any], ...]:
        if has_to_wait(call):
            node.kind = Kind.MAP
            given = (*call.kwargs.values(), *call.fixed.values(), *(call.policies.demands or {}).values())
            return tuple([lazy for argument in given for lazy in search.inside(argument)])
        node.kind = Kind.GATHER
        return tuple(self._items(call, call.kwargs))

    def _items(self, call: MapCall, columns: Mapping[str, tuple[Any, ...]]) -> list[LazyResult[Any]]:
        calls = calls_of(call, columns)
        if call.limit is not None:
            self._groups.update(dict.fromkeys(calls, Group(call.limit)))
        return [LazyResult(item) for item in calls]

    def _unpin(self, route: RouteCall) -> None:
        for freed in self._pins.drop(route):
            node = self.find(freed)
            if node is not None and not node.readers and node.status is Status.DONE:
                node.value = None


def _only_heir(node: Node) -> Node | None:
    return node.heir if node.readers == 1 else None
