"""The journal of one recorded run: what its scheduler writes to it and reads from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from cascade.interfaces import (
    NO_EVENTS,
    Clock,
    Journal,
    Plan,
    RecordedStatus,
    RunCancelledError,
    RunChangedError,
    RunInUseError,
    RunStatus,
    StateUnavailable,
    StepEvents,
    StepInDoubtError,
    StepKeepsDyingError,
    StepState,
    TaskCancelledError,
    UnstorableValueError,
)
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import describe
from cascade.runtime._graph.items import MapItems
from cascade.runtime._graph.keys import scope_of
from cascade.runtime._graph.node import Columns, Node, Scope
from cascade.runtime._graph.recorded import RecordedGraph
from cascade.runtime._recovery import returned_calls
from cascade.runtime._recovery.restorer import Restorer
from cascade.runtime._recovery.step_digests import StepDigests
from cascade.runtime._scheduler.kept_failures import failure_of, keeper_of
from cascade.runtime._scheduler.recording import EndExpected
from cascade.runtime._support.settings import ResumeRules
from cascade.runtime.telemetry.event_trail import EventTrail
from cascade.spec import LazyResult, MapCall

_log = get_logger("cascade.state")


class RunRecording:
    """One attempt of a recorded run; what the scheduler calls is described at :class:`Recording`.

    :param home: module of the run's target.
    """

    def __init__(self, journal: Journal, run_id: str, *, home: str, clock: Clock, rules: ResumeRules) -> None:
        self._journal = journal
        self._run_id = run_id
        self._home = home
        self._clock = clock
        self._digests = StepDigests()
        self._restorer = Restorer(
            journal, run_id, self._digests, home=home, on_change=rules.on_change, clock=clock
        )
        self._trail: EventTrail | None = None
        self._wake: Callable[[], None] = _do_nothing
        self._end_expected: EndExpected = _no_event
        self._waiting = 0  # steps that wait until rows can be written
        self._started: set[Node] = set()
        """Steps that have no outcome yet, and whose start this attempt recorded."""
        self._recorded_steps = False  # in this attempt
        self._continues = journal.earlier is not None and journal.earlier.status is RecordedStatus.INTERRUPTED
        """Whether a process was killed, whose delays between attempts go on."""
        self.forget_control = rules.forget_control
        """Whether the run begins without the constraints that the last process obeyed."""

    @property
    def attempt(self) -> int:
        """Which attempt of the run this is, from 1."""
        return self._journal.attempt

    @property
    def kept(self) -> int:
        """How many steps earlier attempts recorded."""
        return self._journal.earlier.kept if self._journal.earlier is not None else 0

    @property
    def params(self) -> Mapping[str, Any] | None:
        """The values of the run's inputs; None for a new run."""
        return self._journal.earlier.params if self._journal.earlier is not None else None

    def follow(self, trail: EventTrail) -> None:
        """Send what earlier attempts recorded and may have lost; from now on record events that may be lost."""
        self._trail = trail
        if self._journal.earlier is not None:
            trail.publish_again(self._journal.earlier.pending)

    def check(self, rules: ResumeRules, state: str) -> None:
        """Refuse a run with a step that must not be started again.

        :raises StepInDoubtError: for a step that runs at most once and may have been done.
        :raises StepKeepsDyingError: for one in which the process died too often.
        """
        for key in self._journal.known_keys(*_IN_FLIGHT):
            record = self._journal.known(key)
            assert record is not None
            if record.state is StepState.IN_DOUBT:
                raise StepInDoubtError(self._run_id, key, began=record.began, state=state)
            if rules.max_starts is not None and record.deaths >= rules.max_starts:
                raise StepKeepsDyingError(key, record.deaths)

    def begin(self, *, wake: Callable[[], None], end_expected: EndExpected) -> RecordedGraph:
        """Return the run's graph, which is empty."""
        self._wake = wake
        self._end_expected = end_expected
        return RecordedGraph()

    def is_blocked(self) -> bool:
        """Return whether a step waits until rows can be written: further ones would only wait with it."""
        return self._waiting > 0

    async def recorded_values(self, graph: Scope, lazies: Sequence[LazyResult[Any]]) -> None:
        """Give a graph the recorded values of the calls that it is about to build."""
        await self._restorer.restore(_recorded(graph), lazies)

    async def recorded_items(self, graph: Scope, call: MapCall, columns: Columns) -> None:
        """Give a graph the recorded values of a map's items."""
        await self._restorer.restore_items(_recorded(graph), call, columns)

    def delay_left(self, node: Node) -> float:
        """Give a task the number of its next attempt; return the seconds that it has to wait for it."""
        retry = node.call.policies.retry
        record = self._journal.known(node.key) if self._continues and retry is not None else None
        if record is None or retry is None or not record.tries or record.state not in _UNFINISHED:
            return 0.0
        node.attempt = min(record.tries + 1, retry.max_attempts)
        return min(record.not_before - self._clock.now(), retry.delay_after(record.tries, 1.0))

    async def before_start(self, node: Node) -> None:
        """Wait until rows can be written, then record that an attempt starts."""
        if self._journal.stalled:
            await self._writable()
        if not node.call.policies.at_most_once:
            self._record_start(node)
            return
        self._recorded_steps = True
        code = self._digests.code(node.definition.function)
        await self._journal.started_for_certain(
            node.key, name=node.name, inputs=self._inputs(node), code=code
        )

    def before_retry(self, node: Node, error: Exception, delay: float) -> None:
        """Record that an attempt failed and the next one may start in ``delay`` seconds."""
        not_before = self._clock.now() + delay
        self._journal.retrying(node.key, tries=node.attempt, not_before=not_before, error=describe(error))

    async def after_value(self, node: Node, value: Any) -> None:
        """Commit the value of a step, and the event that will report it, unless the task is not to be recorded."""
        policies = node.call.policies
        self._complete_row(node)
        if not policies.recorded:
            return
        try:
            await self._journal.completed(node.key, value, events=partial(self._events, node))
        except UnstorableValueError as exc:
            # of such a step it stays in doubt whether it may run again
            if not policies.at_most_once:
                await self.after_failure(node, exc)
            raise

    async def after_failure(self, node: Node, error: Exception) -> None:
        """Commit that a step failed for good: as its result, if a call keeps it. A cancel of this run is not an outcome."""
        if node.call.policies.recorded and keeper_of(node, error) is not None:
            self._complete_row(node)
            failure = failure_of(node, error)
            events = partial(self._events, node, error)
            await self._journal.completed(node.key, failure, events=events, error=failure.error)
            return
        self._started.discard(node)
        if not (isinstance(error, TaskCancelledError | RunCancelledError) and error.run_id == self._run_id):
            await self._journal.failed(node.key, describe(error))

    async def before_expand(self, node: Node, target: Node, graph: Scope, lazy: LazyResult[Any]) -> None:
        """Commit what the call of ``node`` returned, from which ``target`` will have its value."""
        graph = _recorded(graph)
        self._complete_row(node)
        await self._restorer.check_returned(node.key, target.key, graph, lazy)
        replaces = f"{scope_of(target.key)}~{graph.turn - 1}/" if graph.turn > 1 else None
        events = self._events(node)
        try:
            plan = Plan(returned_calls.encode(graph, lazy, home=self._home))
            await self._journal.expanded(target.key, plan, replaces=replaces, events=events)
        except UnstorableValueError:
            decider = Plan(self._digests.returned(graph, lazy), decider=True)
            await self._journal.expanded(node.key, decider, events=events)

    async def succeeded(self) -> None:
        """Record that the run ended with its values.

        :raises StateUnavailable: if that cannot be recorded.
        """
        self._settle()
        await self._journal.end(RunStatus.SUCCEEDED)

    async def failed(self, status: RunStatus, error: str, cause: Exception) -> None:
        """Record why the run ended without its values; log it if that cannot be recorded.

        :param cause: where it says that the run cannot go on as it was recorded, the run stands as it did before, if
            no step began.
        """
        if isinstance(cause, RunChangedError) and not self._recorded_steps:
            await self._journal.close()
            return
        self._settle()
        try:
            await self._journal.end(status, error)
        except (StateUnavailable, RunInUseError) as exc:
            _log.warning("the end of run %r is not recorded: %s", self._run_id, exc)

    async def close(self) -> None:
        """Release the run, which is interrupted unless it has ended."""
        await self._journal.close()

    async def _writable(self) -> None:
        """Wait until rows can be written; then have the steps start that were held meanwhile."""
        self._waiting += 1
        try:
            await self._journal.writable()
        finally:
            self._waiting -= 1
            self._wake()

    def _record_start(self, node: Node) -> None:
        self._recorded_steps = True
        self._started.add(node)
        code = self._digests.code(node.definition.function)
        self._journal.started(node.key, name=node.name, inputs=self._inputs(node), code=code)

    def _complete_row(self, node: Node) -> None:
        """Record the start of a step that has its value without one: from a cache, or a middleware that answered."""
        if node not in self._started and not node.call.policies.at_most_once:
            self._record_start(node)
        self._started.discard(node)

    def _settle(self) -> None:
        """Have the journal forget, with its next commit, the events that can no longer be lost."""
        if self._trail is not None:
            self._journal.settled(self._trail.settled)

    def _events(self, node: Node, error: Exception | None = None) -> StepEvents:
        if self._trail is None:
            return NO_EVENTS
        self._settle()
        return self._trail.prepare(self._end_expected(node, error))

    def _inputs(self, node: Node) -> bytes:
        """Return the digest of a step's arguments as they were declared."""
        graph, items = _recorded(node.scope), node.origin
        if not isinstance(items, MapItems):
            return self._digests.inputs(graph, node.call, *node.declared_arguments)
        if items.digests is None:
            items.digests = self._digests.items(graph, items.call, items.call.kwargs, items.columns)
        return items.digests.of(node.number)


def _recorded(graph: Scope) -> RecordedGraph:
    # begin() has made the first one, from which all others come
    assert isinstance(graph, RecordedGraph)
    return graph


def _do_nothing() -> None:
    """Stand for the scheduler, until it begins."""


def _no_event(node: Node, error: Exception | None = None) -> None:
    """Stand for the scheduler, until it begins."""


_IN_FLIGHT = (StepState.STARTED, StepState.IN_DOUBT)
_UNFINISHED = frozenset({StepState.STARTED, StepState.RETRYING})
