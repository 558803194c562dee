"""The schedule of one run on the event loop: what is ready starts, until every target is settled."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cascade.runtime._graph.dependencies import inputs_among, walk
from cascade.runtime._graph.graph import Graph
from cascade.runtime._graph.node import Kind, Node
from cascade.runtime._scheduler.expansion import GraphExpansion
from cascade.runtime._scheduler.outcome import RunOutcome
from cascade.runtime._scheduler.ready_queue import ReadyQueue
from cascade.runtime._scheduler.run_parts import RunParts
from cascade.runtime._scheduler.runner import TaskRunner
from cascade.runtime._scheduler.running_tasks import RunningTasks
from cascade.runtime._scheduler.state import RunState, freed
from cascade.runtime._support.loop_steps import finished
from cascade.runtime._support.loops import cancel
from cascade.spec import LazyResult, read_inputs

if TYPE_CHECKING:  # a run imports the features that it uses, and no others
    from cascade.interfaces import Clock, Failure
    from cascade.runtime._scheduler.recording import Recording
    from cascade.runtime._scheduler.structural import StructuralSteps


class RunScheduler:
    """One run, from its lazy results to their values.

    A task starts as soon as its own inputs are done and the engine's admission controller admits it.
    The first failure stops the run: tasks that are running are cancelled, others do not start.
    With ``continue_on_failure`` only tasks that need the failed one are skipped, and the failures are raised as
    one group at the end. ``failures`` collects what failed, and then the values of the other targets are kept.
    """

    def __init__(
        self,
        parts: RunParts,
        runner: TaskRunner,
        *,
        params: Mapping[str, Any],
        continue_on_failure: bool,
        failures: list[Failure] | None,
    ) -> None:
        self._params = params
        self._events = events = parts.events
        self._clock = clock = parts.clock
        self._targets: list[Node] = []
        """In their order; not a local variable, which the traceback of a failure would keep."""
        self._state = RunState()
        self._failures = failures
        self.cause = ""
        """Why the run failed, for watchers; empty if no task failed."""
        self.partial: list[Any] | None = None
        """Values of the targets of a run that failed, with failures in the places of the others; None unless collected."""
        self._outcome = RunOutcome(
            parts.run_id, self._state, events, continue_on_failure=continue_on_failure, failures=failures
        )
        self._tasks = RunningTasks(parts, runner, self._outcome, continue_with=self._continue_with)
        recording = parts.recording
        self._ready_queue = self._new_queue(clock, recording)
        wake, end_expected = self._ready_queue.wake, self._outcome.end_expected
        self._graph = Graph() if recording is None else recording.begin(wake=wake, end_expected=end_expected)
        self._expansion = GraphExpansion(
            self._state,
            self._outcome,
            clock=clock,
            check=self._tasks.check,
            wake=wake,
            report=events.expanded,
            recording=recording,
        )
        self._structural_steps: StructuralSteps | None = None

    def _new_queue(self, clock: Clock, recording: Recording | None) -> ReadyQueue:
        return ReadyQueue(
            self._state,
            self._outcome,
            clock=clock,
            context=self._tasks.context,
            has_room=self._tasks.admission.has_room,
            is_blocked=_never if recording is None else recording.is_blocked,
            start=self._start,
        )

    async def run(self, targets: Sequence[LazyResult[Any]]) -> list[Any]:
        """Return the values of the targets; that of a target which was skipped is None.

        :raises InputsError: once for all inputs from outside that are missing or wrong.
        :raises ExecutorUnavailable: if what a task should run on is not there.
        :raises Exception: what the first task that failed had raised, with a note that names it.
        :raises ExceptionGroup: with ``continue_on_failure``, of all failures.
        :raises RunCancelledError: if a constraint has cancelled the run.
        :raises TaskCancelledError: if a constraint has cancelled a task that the run cannot do without.
        """
        self._tasks.attach(self._ready_queue)
        await self._expansion.build(self._graph, targets)
        self._events.built(self._state)
        if self._graph.dynamic or self._params:
            inputs = inputs_among(walk(targets))
            self._graph.values = read_inputs(inputs, self._params, os.environ)
        await self._tasks.make_ready()
        await finished(self._aim(targets), self._clock)
        self._outcome.conclude()
        self._ready_queue.wake()
        try:
            await self._outcome.wait()
        except Exception as error:
            self.cause = self._outcome.cause(error)
            if self._failures is not None:
                from cascade.runtime._scheduler.kept_failures import values_of

                self.partial = values_of(self._targets, self._failures)
            raise
        return await finished(_values(self._targets), self._clock)

    async def stop(self, timeout: float) -> set[asyncio.Task[Any]]:
        """Cancel running tasks, wait up to ``timeout`` seconds, and return those still running."""
        try:
            return await self._stopped(timeout)
        finally:
            await self._free()

    async def _stopped(self, timeout: float) -> set[asyncio.Task[Any]]:
        self._outcome.close()
        never_started: deque[Node] = deque()
        try:
            never_started += self._tasks.withdraw()
            tasks = [*self._tasks.asyncio_tasks(), *self._expansion.tasks()]
            still_running = await cancel(tasks, timeout=timeout)
            never_started += self._tasks.take_never_started()
            never_started += self._expansion.take_never_started()
            await self._report_stopped(never_started)
        finally:
            # the wait was cancelled before all were reported
            for node in never_started:
                self._outcome.stopped(node)
            self._outcome.abandon([*self._tasks.running, *self._expansion.nodes()])
            self._tasks.admission.detach()
        return still_running

    async def _free(self) -> None:
        """Forget every node: in steps, but the rest at once if this is cancelled."""
        try:
            await finished(freed(self._targets, self._state, self._graph), self._clock)
        finally:
            self._graph.clear()

    def _aim(self, targets: Sequence[LazyResult[Any]]) -> Generator[None, None, None]:
        """Make lazy results the targets of the run, in steps."""
        for start in range(0, len(targets), _TARGETS_AT_ONCE):
            if start:
                yield
            nodes = self._graph.nodes(targets[start : start + _TARGETS_AT_ONCE])
            self._state.aim(nodes)
            self._targets += nodes

    async def _report_stopped(self, nodes: deque[Node]) -> None:
        """Report tasks that will not start, and yield to the loop in between; remove those that are reported."""
        while nodes:
            self._outcome.stopped(nodes.popleft())
            if not len(nodes) % _REPORTED_AT_ONCE:
                await asyncio.sleep(0)

    def _start(self, node: Node) -> None:
        if node.items is not None and node.items.unstarted:
            self._state.begin_items(node)
        elif (
            node.input_failed or node.call.settings.condition is not None
        ) and self._structural.skip_if_needed(node):
            self._ready_queue.proceed()
        elif node.kind is _CALL and not node.definition.structural:
            self._tasks.start(node)
        elif node.kind is Kind.MAP or node.kind is Kind.ROUTE:
            self._expansion.expand(node)
        else:
            self._structural.settle(node)
            self._ready_queue.proceed()

    @property
    def _structural(self) -> StructuralSteps:
        if self._structural_steps is None:
            from cascade.runtime._scheduler.structural import StructuralSteps

            self._structural_steps = StructuralSteps(
                self._graph, self._outcome, self._params, expand=self._expansion.expand
            )
        return self._structural_steps

    def _continue_with(self, node: Node, lazy: LazyResult[Any]) -> None:
        self._expansion.continue_with(
            node, lazy
        )  # the expansion is made after the tasks, which it asks to check nodes


def _values(nodes: list[Node]) -> Generator[None, None, list[Any]]:
    """Return the values of nodes, in steps."""
    values: list[Any] = []
    for start in range(0, len(nodes), _TARGETS_AT_ONCE):
        if start:
            yield
        values += [node.value for node in nodes[start : start + _TARGETS_AT_ONCE]]
    return values


def _never() -> bool:
    """Return that nothing holds tasks back that are ready: the run is not recorded."""
    return False


_CALL = Kind.CALL

_REPORTED_AT_ONCE = 64
_TARGETS_AT_ONCE = 4096
