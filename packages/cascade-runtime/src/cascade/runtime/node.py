"""One call in one run: what it waits for, who waits for it, and its value."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from enum import Enum
from typing import Any, Protocol

from cascade.spec import Call, LazyResult, TaskDefinition


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


class Scope(Protocol):
    """The graph that a node belongs to, as those see it who run the node."""

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
        """Let go of what only ``node`` kept, now that it is settled."""
        ...

    def clear(self) -> None:
        """Forget every node."""
        ...

    def build(
        self, lazies: Iterable[LazyResult[Any]], check: Callable[[Node], None]
    ) -> Generator[list[Node], None, None]:
        """Add nodes for ``lazies`` and all that they reach, dependencies first, in steps."""
        ...

    def items(self, node: Node) -> list[LazyResult[Any]]:
        """Return the calls of a map whose iterables are known: one for each item."""
        ...

    def gather(self, node: Node, calls: list[LazyResult[Any]]) -> Node:
        """Turn a map into the gathering of its items' calls, which have been built; return it."""
        ...

    def route(self, node: Node) -> LazyResult[Any]:
        """Return the route that the selector's value chooses."""
        ...

    def continuation(self, node: Node) -> tuple[Scope, Node]:
        """Return where to build what ``node``'s call returned, and who takes its value."""
        ...

    def forward(self, node: Node, lazy: LazyResult[Any]) -> Node:
        """Let ``node`` take the value of another call, which has been built; return who takes it now."""
        ...


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
        "grown",
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

    def __init__(self, call: Call, scope: Scope) -> None:
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
        self.waiting = 1
        """Inputs that are not settled, and 1 until it is admitted to the run."""
        self.readers = 0
        """Dependents, and the run itself for a target, that may still read the value."""
        self.value: Any = None
        self.status = Status.WAITING
        self.troubled = False
        """Whether an input was skipped or failed."""
        self.broken = False
        """Whether a failure is the reason that it was skipped."""
        self.group: Group | None = None
        self.grown: Scope | None = None
        """What its call grew into by returning another: where the value now comes from."""
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
