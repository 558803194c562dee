"""The door at which a recorded run attaches to its scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cascade.interfaces import TaskStateEvent
from cascade.runtime._graph.graph import Graph
from cascade.runtime._graph.node import Columns, Node, Scope
from cascade.spec import LazyResult, MapCall


class EndExpected(Protocol):
    """Returns the event that will report a task's end, with ``error`` its failure; None if nothing subscribes to it."""

    def __call__(self, node: Node, error: Exception | None = None, /) -> TaskStateEvent | None: ...


class Recording(Protocol):
    """The journal of one run, as its scheduler uses it; a run without one is not recorded.

    Everything is called on the event loop. The scheduler calls, in this order: :meth:`begin` once;
    :meth:`recorded_values` and :meth:`recorded_items` before it builds nodes, which take what they give; for each task
    that runs, :meth:`delay_left` once, :meth:`before_start` before each attempt, :meth:`before_retry` between two,
    and at the end exactly one of :meth:`after_value`, :meth:`before_expand` and :meth:`after_failure`. Only a task that
    is cancelled has none of these three. What an awaited method records is committed when it returns.

    Every awaited method raises ``StateUnavailable`` once the store has failed for longer than its limit; the
    scheduler handles that, and every other error, as a failure of the task.
    """

    @property
    def attempt(self) -> int:
        """Which attempt of the run this is, from 1."""
        ...

    def begin(self, *, wake: Callable[[], None], end_expected: EndExpected) -> Graph:
        """Return the run's graph, which is empty; call ``wake`` whenever :meth:`is_blocked` has ended."""
        ...

    def is_blocked(self) -> bool:
        """Return whether no further task should start, because rows cannot be written as fast. Cheap."""
        ...

    async def recorded_values(self, graph: Scope, lazies: Sequence[LazyResult[Any]]) -> None:
        """Give a graph the values that earlier attempts recorded of the calls that it is about to build.

        :raises RunChangedError: if completed steps have changed, or their values cannot be read.
        """
        ...

    async def recorded_items(self, graph: Scope, call: MapCall, columns: Columns) -> None:
        """Give a graph the recorded values of the items of a map, which are known now.

        :raises RunChangedError: as ``recorded_values``.
        """
        ...

    def delay_left(self, node: Node) -> float:
        """Give a task the number of its next attempt; return the seconds that it has to wait for it.

        Only a process that was killed left a delay to wait for: the delay between two attempts.
        """
        ...

    async def before_start(self, node: Node) -> None:
        """Wait until rows can be written, then record that an attempt starts.

        Returns before that is committed, unless the task runs at most once.
        """
        ...

    def before_retry(self, node: Node, error: Exception, delay: float) -> None:
        """Record that an attempt failed and the next one may start in ``delay`` seconds."""
        ...

    async def after_value(self, node: Node, value: Any) -> None:
        """Commit a task's value, before anything sees it.

        :raises UnstorableValueError: if the value must be recorded and cannot be.
        """
        ...

    async def after_failure(self, node: Node, error: Exception) -> None:
        """Commit that a task failed for good; does nothing for a cancellation, which is not an outcome.

        If a call keeps the failure, it is the task's result: no later attempt of the run starts the task again.
        """
        ...

    async def before_expand(self, node: Node, target: Node, graph: Scope, lazy: LazyResult[Any]) -> None:
        """Commit the calls that a task returned, from which ``target`` has its value, before ``graph`` builds them."""
        ...
