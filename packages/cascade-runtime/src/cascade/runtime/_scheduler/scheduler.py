"""Schedule one run on the event loop: start what is ready, record what ends."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from cascade.interfaces import Clock, UsageError
from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._graph.dependencies import inputs_among, walk
from cascade.runtime._graph.graph import Graph
from cascade.runtime._graph.node import Kind, Node
from cascade.runtime._scheduler.admission_client import RunAdmission
from cascade.runtime._scheduler.attempts import AttemptContext
from cascade.runtime._scheduler.checkpoints import CheckpointGate, current
from cascade.runtime._scheduler.events import EventEmitter
from cascade.runtime._scheduler.expansion import GraphExpansion
from cascade.runtime._scheduler.inline import InlineCalls
from cascade.runtime._scheduler.lost_tasks import LostTasks
from cascade.runtime._scheduler.outcome import RunOutcome
from cascade.runtime._scheduler.ready_queue import ReadyQueue
from cascade.runtime._scheduler.runner import TaskRunner, Wrapped
from cascade.runtime._scheduler.state import RunState, freed
from cascade.runtime._scheduler.structural import StructuralSteps
from cascade.runtime._scheduler.tracebacks import add_declaration
from cascade.runtime._support.loop_lag import LoopLagMonitor
from cascade.runtime._support.loop_steps import finished, with_calls
from cascade.runtime._support.tasks import cancel
from cascade.spec import PLAIN, LazyResult, TaskDefinition, may_hold_lazies, read_inputs

if TYPE_CHECKING:  # only recorded runs import it
    from cascade.runtime._scheduler.recording import Recording


class RunScheduler:
    """One run, from its lazy results to their values.

    A task starts as soon as its own inputs are done and the engine's admission controller admits it.
    The first failure stops the run: tasks that are running are cancelled, others do not start.
    With ``carry_on`` only tasks that need the failed one are skipped, and the failures are raised as
    one group at the end.
    """

    def __init__(
        self,
        run_id: str,
        *,
        events: EventEmitter,
        clock: Clock,
        runner: TaskRunner,
        controller: AdmissionController,
        params: Mapping[str, Any],
        carry_on: bool,
        monitor: LoopLagMonitor,
        recording: Recording | None = None,
    ) -> None:
        self._runner = runner
        self._start_call: Wrapped = runner.start  # one bound method for all tasks
        self._calls_directly = not runner.wraps_all
        self._params = params
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        # a context variable that one task sets must not reach the next one
        self._context = contextvars.copy_context()
        self._state = RunState()
        self._targets: list[Node] = []
        """In their order; not a local variable, which the traceback of a failure would keep."""
        self._running: dict[Node, asyncio.Task[None] | None] = {}
        """Tasks that run, look into their cache or wait for an attempt; None: its function is called without one."""
        self._outcome = RunOutcome(run_id, self._state, events, carry_on=carry_on)
        self._lost_tasks = LostTasks(self._running, record=self._record_lost)
        self._checkpoints = CheckpointGate(
            self._loop,
            controller,
            events,
            run_id,
            clock=clock,
            stopped=self._is_over,
            run_attempt=runner.run_attempt,
        )
        self._admission = RunAdmission(
            run_id,
            controller,
            outcome=self._outcome,
            checkpoints=self._checkpoints,
            events=events,
            running=self._running,
            launch=self._launch,
            launch_early=partial(self._launch, start=runner.start_unadmitted),
            proceed=self._proceed,
        )
        self._ready_queue = ReadyQueue(
            self._state,
            self._outcome,
            clock=clock,
            context=self._context,
            has_room=self._admission.has_room,
            is_blocked=_never if recording is None else recording.is_blocked,
            start=self._start,
        )
        wake = self._ready_queue.wake
        self._graph = (
            Graph()
            if recording is None
            else recording.begin(wake=wake, end_expected=self._outcome.end_expected)
        )
        self._expansion = GraphExpansion(
            self._state,
            self._outcome,
            clock=clock,
            check=self._check,
            wake=wake,
            report=events.expanded,
            recording=recording,
        )
        self._structural = StructuralSteps(self._graph, self._outcome, params, expand=self._expansion.expand)
        self._attempts = AttemptContext(
            self._admission,
            self._outcome,
            self._checkpoints,
            events,
            clock=clock,
            ready=runner.ready,
            wake=wake,
            recording=recording,
        )
        self._inline = InlineCalls(
            self._context,
            self._running,
            outcome=self._outcome,
            expansion=self._expansion,
            checkpoints=self._checkpoints,
            attempts=self._attempts,
            monitor=monitor,
            finish_in_task=self._finish,
            release=self._release,
        )

    async def run(self, targets: Sequence[LazyResult[Any]]) -> list[Any]:
        """Return the values of the targets; that of a target which was skipped is None.

        :raises InputsError: once for all inputs from outside that are missing or wrong.
        :raises ExecutorUnavailable: if what a task should run on is not there.
        :raises Exception: what the first task that failed had raised, with a note that names it.
        :raises ExceptionGroup: with ``carry_on``, of all failures.
        :raises RunCancelledError: if a constraint has cancelled the run.
        :raises TaskCancelledError: if a constraint has cancelled a task that the run cannot do without.
        """
        self._admission.attach()
        await self._expansion.build(self._graph, targets)
        self._events.built(self._state)
        if self._graph.dynamic or self._params:
            inputs = inputs_among(walk(targets))
            self._graph.values = read_inputs(inputs, self._params, os.environ)
        for mode in self._runner.modes():
            await self._attempts.make_ready(mode)
        await finished(self._aim(targets), self._clock)
        self._outcome.conclude()
        self._ready_queue.wake()
        self._lost_tasks.watch()
        await self._outcome.wait()
        return await finished(_values(self._targets), self._clock)

    async def stop(self, timeout: float) -> set[asyncio.Task[Any]]:
        """Cancel running tasks, wait up to ``timeout`` seconds, and return those still running."""
        try:
            return await self._stopped(timeout)
        finally:
            await self._free()

    async def _stopped(self, timeout: float) -> set[asyncio.Task[Any]]:
        self._outcome.close()
        self._lost_tasks.stop()
        never_started: deque[Node] = deque()
        try:
            # before cancelled tasks free slots, which would start these
            never_started += self._admission.withdraw_all()
            self._checkpoints.reconsider()
            tasks = [task for task in self._running.values() if task is not None]
            tasks += self._expansion.tasks()
            still_running = await cancel(tasks, timeout=timeout)
            never_started += self._forget_never_started()
            await self._report_stopped(never_started)
        finally:
            for node in never_started:  # the wait was cancelled before all were reported
                self._outcome.stopped(node)
            self._outcome.abandon([*self._running, *self._expansion.nodes()])
            self._admission.detach()
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

    def _launch(self, node: Node, start: Wrapped | None = None) -> None:
        """Start a task now, in the run's own context, because this may be called in that of another task."""
        self._running[node] = self._loop.create_task(
            self._execute(node, start or self._start_call), context=self._context.copy(), name=node.label
        )

    def _finish(self, node: Node, value: Any) -> None:
        """Start an asyncio task for what is left of a task whose function was called without one."""
        del self._running[node]  # see _execute()
        work = self._execute(node, partial(_awaited, value))
        self._running[node] = self._loop.create_task(
            work, name=node.label, context=contextvars.copy_context()
        )

    def _proceed(self) -> None:
        self._ready_queue.proceed()  # the ready queue is made after the admission, which it asks for room

    def _check(self, node: Node) -> None:
        """Raise for a new task that can never start, with a note that says where it is declared."""
        try:
            if node.call.settings.policies.demands:
                self._admission.check(node)
            if not node.definition.on_loop or node.definition.injections:
                self._runner.check(node)
        except UsageError as exc:
            add_declaration(exc, node)
            raise

    def _is_over(self, node: Node) -> bool:
        """Return whether the calls of a task are to stop; from any thread."""
        return self._outcome.is_stopped(node) or node not in self._running

    def _forget_never_started(self) -> list[Node]:
        """Forget and return the tasks that were cancelled before they first ran: they could not do it themselves."""
        never_started = self._lost_tasks.take()
        for node in never_started:
            del self._running[node]
            self._admission.forget(node)
        return never_started + self._expansion.take_never_started()

    def _record_lost(self, node: Node) -> None:
        """Record a task that other code cancelled before it first ran, as one that was cancelled later."""
        self._outcome.cancelled(node, asyncio.CancelledError())
        self._release(node)

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
            self._start_task(node, node.definition)
        elif node.kind is Kind.MAP or node.kind is Kind.ROUTE:
            self._expansion.expand(node)
        else:
            self._structural.settle(node)
            self._ready_queue.proceed()

    def _start_task(self, node: Node, definition: TaskDefinition) -> None:
        """Start a task that has to run, or ask for its admission."""
        if definition.on_loop and self._admission.is_open_for(node):
            if definition.inline and self._calls_directly:
                self._inline.call(node)
            else:
                self._launch(node)
            return
        try:
            admitted = self._admission.submit(node)
        except Exception as exc:  # an amount that is not a number, or too large
            self._outcome.fail(node, exc)
            self._ready_queue.proceed()
            return
        if admitted:
            self._launch(node)

    async def _execute(self, node: Node, start: Wrapped) -> None:
        """Run one task through all its attempts."""
        current.set((self._checkpoints, node, node.attempt))
        outcome = self._outcome
        try:
            try:
                # an eager task factory runs this before _launch() has recorded the task
                if node not in self._running:
                    await asyncio.sleep(0)
                value = await start(node, self._attempts)
                if type(value) not in PLAIN and may_hold_lazies(value):
                    value = await with_calls(value)
            except BaseException as exc:
                if self._loop.is_closed():  # this coroutine, which was abandoned, is freed
                    raise
                outcome.raised(node, exc)
            else:
                if isinstance(value, LazyResult):
                    self._expansion.continue_with(node, value)
                else:
                    outcome.complete(node, value)
            finally:
                self._release(node)
        except BaseException as exc:  # an internal error: nothing awaits this task, so the run must end here
            outcome.abort(exc)

    def _release(self, node: Node) -> None:
        """Release what a task holds, and start other tasks that wait for it."""
        del self._running[node]
        self._admission.forget(node)
        if self._checkpoints.visited:
            self._checkpoints.ended(node)
        if self._ready_queue.due is None:
            self._ready_queue.go_on()


def _values(nodes: list[Node]) -> Generator[None, None, list[Any]]:
    """Return the values of nodes, in steps."""
    values: list[Any] = []
    for start in range(0, len(nodes), _TARGETS_AT_ONCE):
        if start:
            yield
        values += [node.value for node in nodes[start : start + _TARGETS_AT_ONCE]]
    return values


async def _awaited(value: Any, node: Node, context: AttemptContext) -> Any:
    """Return what a synchronous function has returned, or the result of the coroutine that it has returned."""
    return await value if type(value) is CoroutineType else value


def _never() -> bool:
    """Return that nothing holds tasks back that are ready: the run is not recorded."""
    return False


_CALL = Kind.CALL

_REPORTED_AT_ONCE = 64
_TARGETS_AT_ONCE = 4096
