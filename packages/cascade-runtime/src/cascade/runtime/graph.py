"""The graph of one run: built from calls, without recursion and without running anything."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from cascade.interfaces import RouteError, UsageError
from cascade.runtime.arguments import find_lazies, is_container, substitute
from cascade.runtime.needs import walk
from cascade.spec import (
    Call,
    Input,
    InputCall,
    LazyResult,
    MapCall,
    RouteCall,
    TaskDefinition,
    call_of,
    check_lengths,
    column_of,
)

NODES_PER_STEP = 128
"""How many nodes are built between two chances to do something else."""


_NOTHING: Mapping[str, Any] = {}


class Kind(Enum):
    """What a node does when its inputs are there."""

    CALL = "call"
    MAP = "map"
    """Grows a node for each item, then gathers."""
    ROUTE = "route"
    """Grows the route that was chosen, then forwards its value."""
    GATHER = "gather"
    """Lists the values of its inputs."""
    FORWARD = "forward"
    """Takes the value of its input."""
    INPUT = "input"
    """Takes a value from outside."""


class Status(Enum):
    """Where a node stands."""

    WAITING = "waiting"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


class Group:
    """Nodes of which only so many may run at the same time."""

    __slots__ = ("limit", "running", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.waiting: deque[Node] = deque()


class Node:
    """One call in one run: what it waits for, who waits for it, and its value."""

    __slots__ = (
        "_task_id",
        "args",
        "broken",
        "call",
        "definition",
        "dependents",
        "group",
        "heir",
        "index",
        "inputs",
        "kind",
        "kwargs",
        "nested",
        "readers",
        "scope",
        "status",
        "troubled",
        "value",
        "waiting",
        "width",
    )

    def __init__(self, call: Call, scope: Graph) -> None:
        self.call = call
        self.scope = scope
        self.definition: TaskDefinition = call.definition
        self.kind = Kind.CALL
        self.args: tuple[Any, ...] = call.args
        self.kwargs: Mapping[str, Any] = call.kwargs
        self.nested = False
        """Whether lazy results stand inside containers of the arguments."""
        self.index = -1
        """Position in the order of building, dependencies first; -1 while being built."""
        self._task_id: str | None = None
        self.inputs: tuple[Node, ...] = ()
        """What it waits for: inputs whose values it takes first, then those that only come before."""
        self.width = 0
        """How many of its inputs it takes the value of."""
        self.dependents: list[Node] = []
        self.waiting = 0
        """Inputs that are not settled."""
        self.readers = 0
        """Dependents, and the run itself for a target, that may still read the value."""
        self.value: Any = None
        self.status = Status.WAITING
        self.troubled = False
        """Whether an input was skipped or failed."""
        self.broken = False
        """Whether a failure is the reason that it was skipped."""
        self.group: Group | None = None
        self.heir: Node | None = None
        """The node that only waits for this one's value, because its own call returned this call."""

    @property
    def name(self) -> str:
        """The task's name."""
        return self.definition.name

    @property
    def task_id(self) -> str:
        """The task's name and its place in the run: unique within the run."""
        task_id = self._task_id
        if task_id is None:
            task_id = self._task_id = f"{self.definition.name}-{self.index}"
        return task_id

    def __repr__(self) -> str:
        return f"<Node {self.task_id} {self.kind.value} {self.status.value}, waits for {self.waiting}>"


class Graph:
    """The nodes of a run, or of one continuation in it, one for each call that its targets reach."""

    def __init__(self, parent: Graph | None = None) -> None:
        self._parent = parent
        self._root: Graph = parent._root if parent is not None else self
        self._nodes: dict[Call, Node] = {}
        self._count = 0
        self._pins: Counter[Call] = Counter()
        self._groups: dict[Call, Group] = {}
        self.values: dict[Input, Any] = {}
        """Values from outside, known before anything runs; those of the root graph count."""
        self.dynamic = False
        """Whether there are inputs or routes: parts that a plain walk over the nodes does not show."""

    def __len__(self) -> int:
        return self._root._count

    def find(self, call: Call) -> Node | None:
        """Return the node of a call, in this graph or in one that it continues."""
        scope: Graph | None = self
        while scope is not None:
            node = scope._nodes.get(call)
            if node is not None:
                return node
            scope = scope._parent
        return None

    def node(self, lazy: LazyResult[Any]) -> Node:
        """Return the node of a lazy result that has been built."""
        node = self.find(call_of(lazy))
        assert node is not None
        return node

    def build(self, lazies: Iterable[LazyResult[Any]]) -> Iterator[list[Node]]:
        """Add nodes for ``lazies`` and all that they reach, dependencies first.

        Yields the new nodes in lists of up to :data:`NODES_PER_STEP`, so that the caller can
        do something else in between.

        :raises UsageError: if a container was changed so that a task waits for itself.
        """
        stack = [call_of(lazy) for lazy in lazies][::-1]
        fresh: list[Node] = []
        nested = self._parent is not None
        while stack:
            call = stack[-1]
            node = self.find(call) if nested else self._nodes.get(call)
            if node is None:
                stack.extend(self._open(call))
                continue
            stack.pop()
            if node.index < 0:
                self._close(node)
                fresh.append(node)
                if len(fresh) >= NODES_PER_STEP:
                    yield fresh
                    fresh = []
        if fresh:
            yield fresh

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
        columns = {}
        for name, items in node.call.kwargs.items():
            if isinstance(items, LazyResult):
                given_by = call_of(items).definition.name
                columns[name] = column_of(node.definition, name, self._value(items), given_by=given_by)
            else:
                columns[name] = items
        return self._calls(node.call, columns)

    def gather(self, node: Node, calls: list[LazyResult[Any]]) -> None:
        """Turn a map into the gathering of its items' calls, which have been built."""
        self.release(node)
        node.kind = Kind.GATHER
        self._link(node, calls, ())

    def route(self, node: Node) -> LazyResult[Any]:
        """Return the route that the selector's value chooses.

        :raises RouteError: if there is none for it.
        """
        routes = _routes_of(node.call)
        choice = node.inputs[node.width - 1].value
        try:
            return routes[choice]
        except (KeyError, TypeError):
            raise RouteError(choice, tuple(routes)) from None

    def forward(self, node: Node, lazy: LazyResult[Any]) -> None:
        """Let ``node`` take the value of another call, which has been built in this graph."""
        chosen = node.kind is Kind.ROUTE
        node.scope.release(node)
        node.kind = Kind.FORWARD
        node.waiting = 0  # a step that gave way to this one will never be done
        self._link(node, (lazy,), ())
        if chosen:
            self._unpin(
                node.call
            )  # after linking: the route itself may be done already, its value read by nobody else
        grown = self._nodes.get(call_of(lazy))
        if grown is not None and grown.scope is not node.scope:
            grown.heir = node

    def continuation(self, node: Node) -> tuple[Graph, Node]:
        """Return where to build what ``node``'s call returned, and who takes its value.

        A call that was itself returned by another gives way: so a loop that goes on by returning
        its next step grows neither depth nor memory.
        """
        heir = node.heir
        if heir is not None and node.readers == 1:
            node.status = Status.DONE
            node.scope.release(node)
            node.scope.clear()
            return Graph(heir.scope), heir
        return Graph(node.scope), node

    def clear(self) -> None:
        """Forget every node, so that a long chain is freed at once and link by link."""
        self._nodes.clear()

    def release(self, node: Node) -> None:
        """Let go of the values that only ``node`` was still going to read."""
        pins = self._root._pins
        for needed in node.inputs:
            needed.readers -= 1
            if not needed.readers and not (pins and pins[needed.call]):
                needed.value = None
        node.inputs = node.args = ()
        node.kwargs = _NOTHING

    def _value(self, lazy: LazyResult[Any]) -> Any:
        return self.node(lazy).value

    def _open(self, call: Call) -> list[Call]:
        """Make the node of ``call``; return what has to be built before it."""
        node = self._nodes[call] = Node(call, self)
        if self._groups:
            node.group = self._groups.pop(call, None)
        taken = self._taken(node)
        condition = call.condition
        if condition is not None:
            taken = (condition.lazy, *taken)
        items_wait = node.kind is Kind.GATHER and taken  # each of them comes after the map's predecessors
        found = taken if items_wait else (*taken, *call.predecessors)
        node.inputs = found  # type: ignore[assignment] # until _close knows their nodes
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

    def _taken(self, node: Node) -> tuple[LazyResult[Any], ...]:
        """Return the inputs whose values a new node takes, and see what kind of node it is."""
        call = node.call
        if type(call) is Call:
            return _call_inputs(node)
        if isinstance(call, MapCall):
            return self._map_inputs(node, call)
        self._root.dynamic = True
        if isinstance(call, RouteCall):
            node.kind = Kind.ROUTE
            self._pin(call)
            return call.args
        node.kind = Kind.INPUT
        return ()

    def _close(self, node: Node) -> None:
        root = self._root
        node.index = root._count
        root._count += 1
        found: Any = node.inputs
        if found:
            width = node.width
            self._link(node, found[:width], found[width:])
            if node.kind is Kind.CALL and not node.nested:
                find = self.node
                node.args = tuple([find(a) if isinstance(a, LazyResult) else a for a in node.args])
                node.kwargs = {k: find(a) if isinstance(a, LazyResult) else a for k, a in node.kwargs.items()}

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
        if needed.status is Status.DONE and not needed.readers and not self._root._pins[needed.call]:
            raise UsageError(
                f"{needed.task_id!r} is done and its value was let go; a task that returns new calls "
                "must be given what those need as arguments"
            )

    def _map_inputs(self, node: Node, call: MapCall) -> tuple[LazyResult[Any], ...]:
        if call.condition is not None or any(isinstance(items, LazyResult) for items in call.kwargs.values()):
            node.kind = Kind.MAP
            return tuple(find_lazies([dict(call.kwargs), dict(call.fixed)]))
        node.kind = Kind.GATHER
        return tuple(self._calls(call, call.kwargs))

    def _calls(self, call: Call, columns: Mapping[str, tuple[Any, ...]]) -> list[LazyResult[Any]]:
        """Return one call for each item; those of a bounded map share a group."""
        assert isinstance(call, MapCall)
        check_lengths(call.definition.name, {name: len(items) for name, items in columns.items()})
        names = tuple(columns)
        calls = [
            Call(
                call.definition,
                (),
                {**call.fixed, **dict(zip(names, row, strict=True))},
                call.policies,
                call.predecessors,
            )
            for row in zip(*columns.values(), strict=True)
        ]
        if call.limit is not None:
            self._groups.update(dict.fromkeys(calls, Group(call.limit)))
        return [LazyResult(item) for item in calls]

    def _pin(self, route: RouteCall) -> None:
        """Keep the values that a route may need until it is known which one is taken."""
        self._root._pins.update(walk(route.routes.values()))

    def _unpin(self, call: Call) -> None:
        pins = self._root._pins
        for held in walk(_routes_of(call).values()):
            pins[held] -= 1
            node = self.find(held)
            if not pins[held] and node is not None and not node.readers and node.status is Status.DONE:
                node.value = None


def inputs_among(calls: Iterable[Call]) -> list[Input]:
    """Return the inputs from outside among calls."""
    return [call.source for call in calls if isinstance(call, InputCall)]


def _routes_of(call: Call) -> Mapping[Any, LazyResult[Any]]:
    assert isinstance(call, RouteCall)
    return call.routes


def _call_inputs(node: Node) -> tuple[LazyResult[Any], ...]:
    call = node.call
    demands = call.policies.demands
    found: list[LazyResult[Any]] = (
        [a for a in demands.values() if isinstance(a, LazyResult)] if demands else []
    )
    for argument in (*call.args, *call.kwargs.values()) if call.kwargs else call.args:
        if isinstance(argument, LazyResult):
            found.append(argument)
        elif is_container(argument):
            inside = find_lazies(argument)
            if inside:
                node.nested = True
                found += inside
    return tuple(found)
