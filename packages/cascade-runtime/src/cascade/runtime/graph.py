"""The graph of one run: built from lazy results, without recursion and without running anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from cascade.interfaces import TaskCallError, UsageError
from cascade.runtime.arguments import find_lazies, substitute
from cascade.spec import LazyResult, MapResult, TaskDefinition, check_lengths

NODES_PER_STEP = 128
"""How many nodes are built between two chances to do something else."""


class Kind(Enum):
    """What a node does when its inputs are there."""

    CALL = "call"
    MAP = "map"
    """Grows a node for each item, then gathers."""
    GATHER = "gather"
    """Lists the values of its inputs."""


class Node:
    """One lazy result in one run: what it waits for, who waits for it, and its value."""

    __slots__ = (
        "args",
        "definition",
        "dependents",
        "done",
        "index",
        "inputs",
        "kind",
        "kwargs",
        "lazy",
        "nested",
        "readers",
        "value",
        "waiting",
        "width",
    )

    def __init__(self, lazy: LazyResult[Any]) -> None:
        self.lazy = lazy
        self.definition: TaskDefinition = lazy.definition
        self.kind = Kind.CALL
        self.args: tuple[Any, ...] = lazy.args
        self.kwargs: Mapping[str, Any] = lazy.kwargs
        self.nested = False
        """Whether lazy results stand inside containers of the arguments."""
        self.index = -1
        """Position in the order of building, dependencies first; -1 while being built."""
        self.inputs: tuple[Node, ...] = ()
        self.dependents: list[Node] = []
        self.waiting = 0
        """Inputs that are not done."""
        self.readers = 0
        """Dependents, and the run itself for a target, that may still read the value."""
        self.value: Any = None
        self.done = False
        self.width = 0
        """For a gathering: how many of its inputs are items."""

    @property
    def name(self) -> str:
        """The task's name."""
        return self.definition.name

    @property
    def task_id(self) -> str:
        """The task's name and its place in the run: unique within the run."""
        return f"{self.definition.name}-{self.index}"

    def __repr__(self) -> str:
        return f"<Node {self.task_id} {self.kind.value} waiting={self.waiting} done={self.done}>"


class Graph:
    """The nodes of a run, one for each lazy result that its targets reach."""

    def __init__(self) -> None:
        self._nodes: dict[LazyResult[Any], Node] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def node(self, lazy: LazyResult[Any]) -> Node:
        """Return the node of a lazy result that has been built."""
        return self._nodes[lazy]

    def build(self, lazies: Iterable[LazyResult[Any]]) -> Iterator[list[Node]]:
        """Add nodes for ``lazies`` and all that they reach, dependencies first.

        Yields the new nodes in lists of up to :data:`NODES_PER_STEP`, so that the caller can
        do something else in between.

        :raises UsageError: if a container was changed so that a task waits for itself.
        """
        stack = list(lazies)[::-1]
        fresh: list[Node] = []
        while stack:
            lazy = stack[-1]
            node = self._nodes.get(lazy)
            if node is None:
                stack.extend(self._open(lazy))
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

    def expand(self, node: Node) -> list[LazyResult[Any]]:
        """Return the calls of a map whose iterables are known: one for each item.

        :raises TaskCallError: if an iterable turned out to be none.
        :raises MapLengthError: if the iterables differ in length.
        """
        columns = {name: self._column(node, name, items) for name, items in node.kwargs.items()}
        return _calls(node.lazy, columns)

    def gather(self, node: Node, calls: list[LazyResult[Any]]) -> None:
        """Turn a map into the gathering of its calls, which have been built."""
        release_inputs(node)
        node.kind = Kind.GATHER
        node.width = len(calls)
        self._link(node, calls)

    def arguments(self, node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what to call the node's function with, now that its inputs are done."""
        if node.nested:
            return substitute(node.args, self._value), substitute(dict(node.kwargs), self._value)
        args, kwargs = node.args, dict(node.kwargs)
        if node.inputs:
            args = tuple([a.value if type(a) is Node else a for a in args])
            kwargs = {k: a.value if type(a) is Node else a for k, a in kwargs.items()}
        return args, kwargs

    def _value(self, lazy: LazyResult[Any]) -> Any:
        return self._nodes[lazy].value

    def _open(self, lazy: LazyResult[Any]) -> list[LazyResult[Any]]:
        """Make the node of ``lazy``; return what has to be built before it."""
        node = self._nodes[lazy] = Node(lazy)
        found = _map_inputs(node) if isinstance(lazy, MapResult) else _call_inputs(node)
        node.inputs = found  # type: ignore[assignment] # until _close knows their nodes
        missing = []
        for needed in reversed(found):
            known = self._nodes.get(needed)
            if known is None:
                missing.append(needed)
            elif known.index < 0:
                raise UsageError(
                    f"{needed!r} waits for itself: a list or dict that it was called with was changed"
                )
        return missing

    def _close(self, node: Node) -> None:
        node.index = self._count
        self._count += 1
        found: Any = node.inputs
        if found:
            self._link(node, found)
            if node.kind is Kind.CALL and not node.nested:
                nodes = self._nodes
                node.args = tuple([nodes[a] if isinstance(a, LazyResult) else a for a in node.args])
                node.kwargs = {
                    k: nodes[a] if isinstance(a, LazyResult) else a for k, a in node.kwargs.items()
                }

    def _link(self, node: Node, lazies: Iterable[LazyResult[Any]]) -> None:
        node.inputs = inputs = tuple([self._nodes[lazy] for lazy in lazies])
        for needed in inputs:
            if needed.done and not needed.readers:
                raise UsageError(
                    f"{needed.task_id!r} was done and its value let go before something new asked for it"
                )
            needed.readers += 1
            if not needed.done:
                needed.dependents.append(node)
                node.waiting += 1

    def _column(self, node: Node, name: str, items: object) -> tuple[Any, ...]:
        if not isinstance(items, LazyResult):
            return items  # type: ignore[return-value] # a tuple, made by Task.map
        value = self._value(items)
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            problem = (
                f"map needs a list of values for {name!r}, but {items.name!r} gave {type(value).__name__}"
            )
            raise TaskCallError(node.name, str(node.definition.signature or "(...)"), problem)
        return tuple(value)


def release_inputs(node: Node) -> None:
    """Let go of the values that only ``node`` was still going to read."""
    for needed in node.inputs:
        needed.readers -= 1
        if not needed.readers:
            needed.value = None
    node.inputs = ()


def _call_inputs(node: Node) -> tuple[LazyResult[Any], ...]:
    lazy = node.lazy
    found: list[LazyResult[Any]] = []
    for argument in (*lazy.args, *lazy.kwargs.values()) if lazy.kwargs else lazy.args:
        if isinstance(argument, LazyResult):
            found.append(argument)
        elif isinstance(argument, list | tuple | dict):
            inside = find_lazies(argument)
            if inside:
                node.nested = True
                found += inside
    return (*found, *lazy.predecessors)


def _map_inputs(node: Node) -> tuple[LazyResult[Any], ...]:
    lazy = node.lazy
    if any(isinstance(items, LazyResult) for items in lazy.kwargs.values()):
        node.kind = Kind.MAP
        return (*find_lazies(dict(lazy.kwargs)), *lazy.predecessors)
    node.kind = Kind.GATHER
    calls = tuple(_calls(lazy, lazy.kwargs))
    node.width = len(calls)
    return calls or lazy.predecessors


def _calls(lazy: LazyResult[Any], columns: Mapping[str, tuple[Any, ...]]) -> list[LazyResult[Any]]:
    check_lengths(lazy.name, {name: len(items) for name, items in columns.items()})
    names = tuple(columns)
    return [
        LazyResult(lazy.definition, (), dict(zip(names, row, strict=True)), lazy.policies, lazy.predecessors)
        for row in zip(*columns.values(), strict=True)
    ]
