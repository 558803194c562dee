"""The tasks of one run that run: each from its start until what it holds is released."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from cascade.interfaces import UsageError
from cascade.interfaces.forked_children import end_forked_child, generation
from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.admission_client import RunAdmission
from cascade.runtime._scheduler.attempts import AttemptContext
from cascade.runtime._scheduler.checkpoints import CheckpointGate, current
from cascade.runtime._scheduler.outcome import RunOutcome
from cascade.runtime._scheduler.ready_queue import ReadyQueue
from cascade.runtime._scheduler.run_parts import RunParts
from cascade.runtime._scheduler.runner import TaskRunner, Wrapped
from cascade.runtime._support.loop_steps import with_calls
from cascade.spec import PLAIN, LazyResult, may_hold_lazies, watch_calls

if TYPE_CHECKING:  # only recorded runs import it
    pass


class RunningTasks:
    """Starts the tasks of one run, with the admission of the engine's controller, and records how each ends.

    A task runs in an asyncio task of its own, in a copy of the run's context. A plain function that runs ``inline``
    never awaits, so it needs no asyncio task: none could be cancelled while it runs.

    ``continue_with`` starts to build a call that a task returned.
    """

    def __init__(
        self,
        parts: RunParts,
        runner: TaskRunner,
        outcome: RunOutcome,
        *,
        continue_with: Callable[[Node, LazyResult[Any]], None],
    ) -> None:
        self.running: dict[Node, asyncio.Task[None] | None] = {}
        """Tasks that run, look into their cache or wait for an attempt; None: its function is called without one."""
        # a context variable that one task sets must not reach the next one
        self.context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._generation = generation()
        self._outcome = outcome
        self._runner = runner
        # one bound method for all tasks
        self._start_call: Wrapped = runner.start
        self._monitor = parts.monitor
        self._called = _Called()
        self._continue_with = continue_with
        self._ready_queue: ReadyQueue
        watch_calls(_note_call)
        self._lost_tasks = _LostTasks(self.running, record=self._record_lost)
        self.checkpoints = CheckpointGate(
            self._loop, parts, stopped=self._is_over, run_attempt=runner.run_attempt
        )
        self.admission = self._admission(parts)
        self._attempts = AttemptContext(
            self.admission,
            outcome,
            self.checkpoints,
            parts,
            ready=runner.ready,
            wake=self._wake,
        )

    def _admission(self, parts: RunParts) -> RunAdmission:
        return RunAdmission(
            parts,
            outcome=self._outcome,
            checkpoints=self.checkpoints,
            running=self.running,
            launch=self._launch,
            launch_early=partial(self._launch, start=self._runner.start_unadmitted),
            proceed=self._proceed,
        )

    def attach(self, ready_queue: ReadyQueue) -> None:
        """Begin to be served by the controller; tell this queue when a task has ended, or may have become ready."""
        self._ready_queue = ready_queue
        self.admission.attach()

    async def make_ready(self) -> None:
        """Have the executors made ready that the tasks known so far need; from now on look for lost tasks.

        :raises ExecutorUnavailable: if what one of them runs its calls on is not there.
        """
        for mode in self._runner.modes():
            await self._attempts.make_ready(mode)
        self._lost_tasks.watch()

    def check(self, node: Node) -> None:
        """Refuse a task that can never start, with a note that says where it is declared.

        :raises UsageError: if the engine lacks what the task asks for.
        """
        try:
            if node.call.settings.policies.demands:
                self.admission.check(node)
            if not node.definition.on_loop or node.definition.injections:
                self._runner.check(node)
        except UsageError as exc:
            from cascade.runtime._scheduler.tracebacks import add_declaration

            add_declaration(exc, node)
            raise

    def start(self, node: Node) -> None:
        """Start a task that is ready, or ask for its admission."""
        definition = node.definition
        if definition.on_loop and self.admission.is_open_for(node):
            if definition.inline and not self._runner.wraps_all:
                self._call_inline(node)
            else:
                self._launch(node)
            return
        try:
            admitted = self.admission.submit(node)
        except Exception as exc:  # an amount that is not a number, or too large
            self._outcome.fail(node, exc)
            self._proceed()
            return
        if admitted:
            self._launch(node)

    def withdraw(self) -> list[Node]:
        """Withdraw what waits for admission, and stop what waits at a checkpoint; return what was reported and never started."""
        self._lost_tasks.stop()
        # before cancelled tasks free slots, which would start these
        never_started = self.admission.withdraw_all()
        self.checkpoints.reconsider()
        return never_started

    def asyncio_tasks(self) -> list[asyncio.Task[None]]:
        """Return the asyncio tasks, to be cancelled."""
        return [task for task in self.running.values() if task is not None]

    def take_never_started(self) -> list[Node]:
        """Forget and return the tasks that were cancelled before they first ran: they could not do it themselves."""
        never_started = self._lost_tasks.take()
        for node in never_started:
            del self.running[node]
            self.admission.forget(node)
        return never_started

    def _launch(self, node: Node, start: Wrapped | None = None) -> None:
        """Start an asyncio task now, in the run's own context, because this may be called in that of another task."""
        self.running[node] = self._loop.create_task(
            self._execute(node, start or self._start_call), context=self.context.copy(), name=node.label
        )

    async def _execute(self, node: Node, start: Wrapped) -> None:
        """Run one task through all its attempts."""
        current.set((self.checkpoints, node, node.attempt))
        outcome = self._outcome
        try:
            try:
                # an eager task factory runs this before _launch() has recorded the task
                if node not in self.running:
                    await asyncio.sleep(0)
                value = await start(node, self._attempts)
                end_forked_child(self._generation)
                if type(value) not in PLAIN and may_hold_lazies(value):
                    value = await with_calls(value)
            except BaseException as exc:
                end_forked_child(self._generation, exc)
                # this coroutine, which was abandoned, is freed
                if self._loop.is_closed():
                    raise
                outcome.raised(node, exc)
            else:
                if isinstance(value, LazyResult):
                    self._continue_with(node, value)
                else:
                    outcome.complete(node, value)
            finally:
                self._release(node)
        except BaseException as exc:
            # an internal error: nothing awaits this task, so the run must end here
            outcome.abort(exc)

    def _call_inline(self, node: Node) -> None:
        """Run a task, which was admitted, to its end, without an asyncio task."""
        self.running[node] = None
        self.context.copy().run(self._call, node)

    def _call(self, node: Node) -> None:
        """Call the function of a task in this context, and record how the task ends."""
        current.set((self.checkpoints, node, node.attempt))
        self._called.node = node
        self._monitor.inline = self._called
        try:
            try:
                self._attempts.begin(node)
                args, kwargs = node.scope.arguments(node)
                value = node.definition.function(*args, **kwargs)
                end_forked_child(self._generation)
                has_to_await = type(value) not in PLAIN and (
                    type(value) is CoroutineType or may_hold_lazies(value)
                )
            except BaseException as exc:
                end_forked_child(self._generation, exc)
                self._outcome.raised(node, exc)
            else:
                if has_to_await:
                    self._finish_in_task(node, value)
                elif isinstance(value, LazyResult):
                    self._continue_with(node, value)
                else:
                    self._outcome.complete(node, value)
        finally:
            self._monitor.inline = self._called.node = None
            if self.running[node] is None:
                self._release(node)

    def _finish_in_task(self, node: Node, value: Any) -> None:
        """Start an asyncio task for what is left of a task whose function was called without one."""
        del self.running[node]  # see _execute()
        work = self._execute(node, partial(_awaited, value))
        self.running[node] = self._loop.create_task(work, name=node.label, context=contextvars.copy_context())

    def _release(self, node: Node) -> None:
        """Release what a task holds, and start other tasks that wait for it."""
        del self.running[node]
        self.admission.forget(node)
        if self.checkpoints.visited:
            self.checkpoints.ended(node)
        if self.checkpoints.made:
            from cascade.runtime._scheduler.dropped_calls import warn_of_dropped

            warn_of_dropped(self.checkpoints.made, node)
        if self._ready_queue.due is None:
            self._ready_queue.go_on()

    def _record_lost(self, node: Node) -> None:
        """Record a task that other code cancelled before it first ran, as one that was cancelled later."""
        self._outcome.cancelled(node, asyncio.CancelledError())
        self._release(node)

    def _is_over(self, node: Node) -> bool:
        """Return whether the calls of a task are to stop; from any thread."""
        return self._outcome.is_stopped(node) or node not in self.running

    def _wake(self) -> None:
        self._ready_queue.wake()

    def _proceed(self) -> None:
        self._ready_queue.proceed()


def _note_call(lazy: LazyResult[Any], replaced: LazyResult[Any] | None) -> None:
    """Note a lazy result that is made inside a task of this process."""
    place = current.get()
    if place is not None:
        from cascade.runtime._scheduler.dropped_calls import note_call

        note_call(place[0].made, place[1], lazy, replaced, depth=2)


class _Called:
    """Names the task whose function is called, for the thread that monitors the event loop."""

    __slots__ = ("node",)

    def __init__(self) -> None:
        self.node: Node | None = None

    def __call__(self) -> str:
        """Return the task's label; empty if it has just ended."""
        node = self.node
        return node.label if node is not None else ""


async def _awaited(value: Any, node: Node, context: AttemptContext) -> Any:
    """Return what a synchronous function has returned, or the result of the coroutine that it has returned."""
    return await value if type(value) is CoroutineType else value


class _LostTasks:
    """Finds steps whose asyncio task other code cancelled before it first ran: it could not record its own end.

    It checks the running steps once a second: a callback on each task would cost every task a tenth of its time.

    It checks those that were started first: a lost task stays recorded, so it becomes one of them.
    """

    def __init__(
        self, running: Mapping[Node, asyncio.Task[None] | None], *, record: Callable[[Node], None]
    ) -> None:
        self._running = running
        self._record = record
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Check in a second, and again each second until :meth:`stop`."""
        self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._check)

    def stop(self) -> None:
        """Check no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def take(self) -> list[Node]:
        """Return all steps that are lost now."""
        return _lost(self._running, len(self._running))

    def _check(self) -> None:
        self.watch()
        for node in _lost(self._running, _CHECKED_AT_ONCE):
            self._record(node)


def _lost(running: Mapping[Node, asyncio.Task[None] | None], count: int) -> list[Node]:
    return [node for node, task in islice(running.items(), count) if task is not None and task.done()]


_INTERVAL = 1.0
"""Seconds between two checks; a run has one timer, whatever its size."""

_CHECKED_AT_ONCE = 1000
"""Running steps that one check covers, in about 50 microseconds."""
