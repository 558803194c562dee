"""Write what becomes of the steps of one run to its journal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cascade.interfaces import (
    NO_EVENTS,
    Clock,
    Journal,
    Plan,
    RecordedStatus,
    RunCancelledError,
    StepEvents,
    StepRecord,
    StepState,
    TaskCancelledError,
    TaskStateEvent,
    UnstorableValueError,
)
from cascade.interfaces.redaction import describe
from cascade.runtime._graph.keys import scope_of
from cascade.runtime._graph.node import Node
from cascade.runtime._graph.recorded import RecordedGraph, RecordedItems
from cascade.runtime._recovery import plans
from cascade.runtime._recovery.digests import StepDigests
from cascade.runtime._recovery.restorer import Restorer
from cascade.runtime._support.event_trail import EventTrail
from cascade.spec import LazyResult

EndExpected = Callable[[Node], TaskStateEvent | None]
"""Returns the event that will report a task's end."""


class Recorder:
    """Records the steps of one attempt of a run.

    :param home: module of the run's target.
    """

    def __init__(
        self, journal: Journal, restorer: Restorer, digests: StepDigests, *, home: str, clock: Clock
    ) -> None:
        self._journal = journal
        self._restorer = restorer
        self._digests = digests
        self._clock = clock
        self._home = home
        self._trail: EventTrail | None = None
        self._held = 0  # steps that wait until rows can be written
        self.wrote = False
        """Whether anything was recorded of a step in this attempt."""
        self.continues = journal.earlier is not None and journal.earlier.status is RecordedStatus.INTERRUPTED
        """Whether a process was killed, whose delays between attempts go on."""

    def follow(self, trail: EventTrail) -> None:
        """Send what earlier attempts recorded and may have lost; from now on record events that may be lost."""
        self._trail = trail
        if self._journal.earlier is not None:
            trail.publish_again(self._journal.earlier.pending)

    @property
    def stalled(self) -> bool:
        """Whether rows cannot be written at this moment."""
        return self._journal.stalled

    def holds(self) -> bool:
        """Return whether a step waits until rows can be written: further ones would only wait with it."""
        return self._held > 0

    async def writable(self) -> None:
        """Wait until rows can be written.

        :raises StateUnavailable: once the store has failed for longer than its limit.
        """
        self._held += 1
        try:
            await self._journal.writable()
        finally:
            self._held -= 1

    def interrupted(self, node: Node) -> StepRecord | None:
        """Return what is known of a step whose attempts had begun, and may go on, in a process that was killed."""
        record = self._journal.known(node.key) if self.continues else None
        return record if record is not None and record.tries and record.state in _OPEN else None

    def started(self, node: Node) -> None:
        """Record that an attempt of a step starts, unless the start is to be committed before the call."""
        self.wrote = True
        if not node.call.policies.at_most_once:
            self._journal.started(
                node.key,
                name=node.name,
                inputs=self.inputs(node),
                code=self._digests.code(node.definition.function),
            )

    async def started_for_certain(self, node: Node) -> None:
        """Commit that an attempt of a step starts."""
        self.wrote = True
        await self._journal.started_for_certain(
            node.key,
            name=node.name,
            inputs=self.inputs(node),
            code=self._digests.code(node.definition.function),
        )

    def retrying(self, node: Node, error: Exception, delay: float) -> None:
        """Record that an attempt of a step failed, and that another one comes after ``delay`` seconds."""
        not_before = self._clock.now() + delay
        self._journal.retrying(node.key, tries=node.attempt, not_before=not_before, error=describe(error))

    async def completed(self, node: Node, value: Any, end_expected: EndExpected) -> None:
        """Commit the value of a step, and the event that will report it, unless the task is not to be recorded."""
        policies = node.call.policies
        if not policies.recorded:
            return
        try:
            await self._journal.completed(node.key, value, events=partial(self._events, node, end_expected))
        except UnstorableValueError as exc:
            if not policies.at_most_once:  # of such a step it stays in doubt whether it may run again
                await self.failed(node, exc)
            raise

    async def failed(self, node: Node, error: Exception) -> None:
        """Commit that a step failed for good; a cancellation is not an outcome."""
        if not isinstance(error, TaskCancelledError | RunCancelledError):
            await self._journal.failed(node.key, describe(error))

    async def expanded(
        self,
        node: Node,
        target: Node,
        graph: RecordedGraph,
        lazy: LazyResult[Any],
        end_expected: EndExpected,
    ) -> None:
        """Commit what the call of ``node`` returned, from which ``target`` will have its value."""
        self.wrote = True
        await self._restorer.check_returned(node.key, target.key, graph, lazy)
        replaces = f"{scope_of(target.key)}~{graph.turn - 1}/" if graph.turn > 1 else None
        events = self._events(node, end_expected)
        try:
            plan = Plan(plans.encode(graph, lazy, home=self._home))
            await self._journal.expanded(target.key, plan, replaces=replaces, events=events)
        except UnstorableValueError:
            decider = Plan(self._digests.returned(graph, lazy), decider=True)
            await self._journal.expanded(node.key, decider, events=events)

    def settle(self) -> None:
        """Have the journal forget, with its next commit, the events that can no longer be lost."""
        if self._trail is not None:
            self._journal.settled(self._trail.settled)

    def _events(self, node: Node, end_expected: EndExpected) -> StepEvents:
        if self._trail is None:
            return NO_EVENTS
        self.settle()
        return self._trail.prepare(end_expected(node))

    def inputs(self, node: Node) -> bytes:
        """Return the digest of a step's arguments as they were declared."""
        graph, items = node.scope, node.origin
        assert isinstance(graph, RecordedGraph)
        if not isinstance(items, RecordedItems):
            return self._digests.inputs(graph, node.call, *node.declared_arguments)
        if items.digests is None:
            items.digests = self._digests.items(graph, items.call, items.call.kwargs, items.columns)
        return items.digests.of(node.number)


_OPEN = frozenset({StepState.STARTED, StepState.RETRYING})
