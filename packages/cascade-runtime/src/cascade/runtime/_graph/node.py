"""One call in one run: what it waits for, what waits for it, and its value."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from enum import Enum, StrEnum
from typing import Any, Protocol

from cascade.runtime._graph.keys import declared_key, scope_of, shortened
from cascade.spec import Call, LazyResult, TaskDefinition, filled

Columns = Mapping[str, tuple[Any, ...]]
"""The arguments of a map's items, by parameter."""


class Kind(StrEnum):
    """What a node does when its inputs are there. Texts, because Python computes their hash in C."""

    CALL = "call"
    MAP = "map"
    """Finds out which items it has, then gathers."""
    ROUTE = "route"
    """Expands into the route that was chosen, then forwards its value."""
    OTHERWISE = "otherwise"
    """Its condition is false: expands into the call to be made instead, then forwards its value."""
    GATHER = "gather"
    """Starts the items of a map one after another, and lists their values."""
    FORWARD = "forward"
    """Takes the value of its input."""
    INPUT = "input"
    """Takes a value from outside."""
    RECORDED = "recorded"
    """Takes what an earlier attempt of the run recorded."""


TASKS = frozenset({Kind.CALL, Kind.RECORDED})
"""Kinds of the nodes that stand for a task, unless they are structural."""


class Status(Enum):
    """Where a node stands."""

    OPENED = "opened"
    """It is in its graph, but what it needs may not be built yet."""
    WAITING = "waiting"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    REMOVED = "removed"
    """It was taken out of its graph before it was admitted to the run."""


class Origin:
    """From what nodes were expanded: a route, a map, or a call with a condition."""

    __slots__ = ("node",)

    is_map = False

    def __init__(self, node: Node) -> None:
        self.node = node

    @property
    def unstarted(self) -> int:
        """How many items of a map have no node yet."""
        return 0

    def arguments_of(self, number: int) -> dict[str, Any]:
        """Return the arguments of a map's item as they were declared."""
        raise NotImplementedError


class Scope(Protocol):
    """The graph that a node belongs to. A protocol, because the graph's module imports this one."""

    target: Node | None
    """The node whose continuation this graph is; None for the graph of the run itself."""
    turn: int
    """How many graphs have continued the target, this one included."""
    names: dict[str, int]
    """How many calls of this graph's declaration have each name."""

    def find(self, call: Call, /) -> Node | None:
        """Return the node of a call, if it has one."""
        ...

    def node(self, lazy: LazyResult[Any]) -> Node:
        """Return the node of a lazy result that has been built."""
        ...

    def arguments(self, node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what to call the node's function with, now that its inputs are done."""
        ...

    def release(self, node: Node) -> None:
        """Release what only ``node`` kept, now that it is settled."""
        ...

    def clear(self) -> None:
        """Forget every node."""
        ...

    def build(
        self, lazies: Iterable[LazyResult[Any]], check: Callable[[Node], None]
    ) -> Generator[list[Node], None, None]:
        """Add nodes for ``lazies`` and all that they reach, dependencies first, in steps."""
        ...

    def columns(self, node: Node) -> Generator[None, None, tuple[Columns, Iterator[LazyResult[Any]] | None]]:
        """Return the arguments of a map's items, and the lazy results in them if there are any, in steps."""
        ...

    def begin_items(self, node: Node, columns: Columns) -> None:
        """Turn a map into the gathering of its items, none of which takes a lazy result of its own."""
        ...

    def build_items(
        self,
        node: Node,
        columns: Columns,
        lazies: Iterator[LazyResult[Any]],
        check: Callable[[Node], None],
    ) -> Generator[list[Node], None, None]:
        """Do what ``begin_items`` does for items that take lazy results, and add nodes for them and all that they need."""
        ...

    def route(self, node: Node) -> LazyResult[Any]:
        """Return the route that the selector's value chooses, or the call to be made instead of this one."""
        ...

    def continue_at(self, node: Node, turn: int) -> Scope:
        """Return an empty graph for the calls that ``node``'s call, and those that replaced it, returned last."""
        ...

    def continuation(self, node: Node) -> tuple[Scope, Node]:
        """Return where to build what ``node``'s call returned, and the node that takes its value."""
        ...

    def forward(self, node: Node, lazy: LazyResult[Any]) -> Node:
        """Have ``node`` take the value of another call, which has been built; return the node that takes it now."""
        ...


class Node:
    """One call in one run: what it waits for, what waits for it, and its value."""

    __slots__ = (
        "args",
        "attempt",
        "call",
        "continuation_target",
        "definition",
        "dependents",
        "expansion",
        "input_failed",
        "inputs",
        "items",
        "keeps_alternatives",
        "kind",
        "known_key",
        "kwargs",
        "nested",
        "number",
        "origin",
        "readers",
        "scope",
        "skipped_by_failure",
        "status",
        "unmet",
        "value",
        "width",
    )

    def __init__(self, call: Call, scope: Scope) -> None:
        self.call, self.scope = call, scope
        self.definition: TaskDefinition = call.settings.definition
        self.kind = _CALL
        self.args: tuple[Any, ...] = call.args
        self.kwargs: Mapping[str, Any] = call.kwargs
        self.nested = False
        """Whether lazy results stand inside containers of the arguments."""
        self.number = 0
        """Index in its map, or among the calls of its name in the declaration; known when the node is built."""
        self.origin: Origin | None = None
        """From what the node was expanded; None if its graph had it at first."""
        self.known_key: str | None = None
        """The key, once it was asked for."""
        self.attempt = 1
        """The attempt that runs or comes next, from 1."""
        self.inputs: tuple[Node, ...] = ()
        """What it waits for: inputs whose values it takes first, then those that only come before."""
        self.width = 0
        """How many of its inputs it takes the value of."""
        self.dependents: Node | list[Node] | None = None
        """What waits for it: mostly one node, which needs no list."""
        self.unmet = 1
        """For how many things it still waits: inputs that are not settled, items of a map, and its admission to the run."""
        self.keeps_alternatives = False
        """Whether it keeps the values that its alternatives may need; see :class:`RouteRefCounts`."""
        self.readers = 0
        """Dependents, and the run itself for a target, that may still read the value."""
        self.value: Any = None
        self.status = _OPENED
        self.input_failed = False
        """Whether an input was skipped or failed."""
        self.skipped_by_failure = False
        """Whether it was skipped because of a failure."""
        self.items: Origin | None = None
        """Of a map: its items, as soon as they are known."""
        self.expansion: Scope | None = None
        """The graph of the call that this node's call returned: its value comes from there."""
        self.continuation_target: Node | None = None
        """The node that takes this one's value, because its own call returned this call."""

    def add_dependent(self, dependent: Node) -> None:
        """Note one more node that waits for this one."""
        dependents = self.dependents
        if dependents is None:
            self.dependents = dependent
        elif type(dependents) is list:
            dependents.append(dependent)
        else:
            self.dependents = [*self.all_dependents, dependent]

    @property
    def all_dependents(self) -> Sequence[Node]:
        """What waits for it."""
        dependents = self.dependents
        if dependents is None:
            return ()
        return dependents if isinstance(dependents, list) else (dependents,)

    @property
    def name(self) -> str:
        """The task's name."""
        return self.definition.name

    @property
    def key(self) -> str:
        """The step key, which is the ``task_id`` of events: the same in every run of one declaration.

        ``resize:0[17]`` is an item of a map; ``loop:0~3/step:1`` was declared by the third
        continuation of ``loop:0``.
        """
        key = self.known_key
        return key if key is not None else _find_key(self)

    @property
    def label(self) -> str:
        """The last part of the key, or the label that the user gave, filled: for names in this program only.

        Made at once, however deep the node is.
        """
        if self.call.settings.label and self.kind is Kind.CALL and (arguments := self.arguments()):
            return filled(self.call.settings.label, arguments)
        if self.origin is None or not self.origin.is_map:
            return f"{self.definition.name}:{self.number}"
        return f"{self.definition.name}[{self.number}]"

    @property
    def item(self) -> int | None:
        """The index in its map; None for any other call."""
        return self.number if self.origin is not None and self.origin.is_map else None

    @property
    def outer(self) -> Node | None:
        """The node whose key this one's key begins with; None at the top of the run."""
        origin = self.origin
        return origin.node if origin is not None and origin.is_map else self.scope.target

    @property
    def parent(self) -> str:
        """The key of the map, route or task that this call was expanded from, else empty."""
        expanded_from = self.origin.node if self.origin is not None else self.scope.target
        return expanded_from.key if expanded_from is not None else ""

    @property
    def declared_arguments(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The arguments as they were declared, with lazy results in the places of values."""
        if self.origin is not None and self.origin.is_map:
            return (), self.origin.arguments_of(self.number)
        return self.call.args, self.call.kwargs

    def arguments(self) -> dict[str, Any]:
        """Return the values of its arguments by parameter; empty before its inputs are done, and after its end."""
        signature = self.definition.signature
        if (
            signature is None
            or self.kind is not Kind.CALL
            or any(n.status is not Status.DONE for n in self.inputs)
        ):
            return {}
        try:
            args, kwargs = self.scope.arguments(self)
            return dict(signature.bind_partial(*args, **kwargs).arguments)
        except Exception:
            # containers that cannot hold their values: the call itself says so
            return {}

    def __repr__(self) -> str:
        return f"<Node {self.key} {self.kind.value} {self.status.value}, waits for {self.unmet}>"


# looking up a name in an enum costs as much as several attributes
_CALL, _OPENED = Kind.CALL, Status.OPENED


def _find_key(node: Node) -> str:
    """Make the key of a node and those it begins with; without recursion, because expansions nest deeply."""
    origin = node.origin
    # most nodes: outer is None
    if node.scope.target is None and (origin is None or not origin.is_map):
        node.known_key = key = shortened(declared_key(node.definition.name, node.number))
        return key
    path = [node]
    while (outer := path[-1].outer) is not None and outer.known_key is None:
        path.append(outer)
    key = ""
    for each in reversed(path):
        key = each.known_key = shortened(_full_key(each))
    return key


def _full_key(node: Node) -> str:
    outer = node.outer
    if outer is None:
        return declared_key(node.definition.name, node.number)
    assert outer.known_key is not None
    scope = scope_of(outer.known_key)
    if node.item is not None:
        return f"{scope}[{node.item}]"
    return f"{scope}~{node.scope.turn}/{declared_key(node.definition.name, node.number)}"
