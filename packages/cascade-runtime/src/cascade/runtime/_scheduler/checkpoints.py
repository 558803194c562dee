"""Checkpoints: where a long task reports its progress, and obeys pause and cancel."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from cascade.interfaces import Directive, StepInfo, TaskState, UsageError
from cascade.interfaces.call_context import in_call, in_worker, traceparent
from cascade.interfaces.logs import get_logger
from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.events import ProgressReport
from cascade.runtime._scheduler.run_parts import RunParts

if TYPE_CHECKING:
    from cascade.runtime._scheduler.dropped_calls import Made

PROGRESS_INTERVAL = 0.5
"""Seconds between two reports of progress of one task, at the least."""


class CheckpointGate:
    """Decides for one run whether a task that reached a checkpoint continues, waits or stops.

    A call that cannot be stopped outlives its attempt. So each attempt of a task has a number,
    and calls of attempts that are over are stopped at their next checkpoint.

    :param stopped: tells whether a task is to stop; called from any thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        parts: RunParts,
        *,
        stopped: Callable[[Node], bool],
        run_attempt: int = 1,
    ) -> None:
        self.loop = loop
        self.visited = False
        """Whether a task has reached a checkpoint, or was tried again."""
        self.made: Made = {}
        self._controller, self._events = parts.controller, parts.events
        self.run_id = parts.run_id
        self.run_attempt = run_attempt
        self.lease_term = parts.lease_term
        self._clock = parts.clock
        self._stopped = stopped
        # when a task's progress was last reported
        self._progressed: dict[Node, float] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        # each waits on behalf of a thread
        self._threads: set[asyncio.Task[None]] = set()
        # they run in other processes
        self._calls: dict[RemoteCall, Callable[[Directive], None]] = {}
        self.limits = TimeLimits(loop)

    def is_over(self, node: Node, attempt: int) -> bool:
        """Return whether a call of this attempt is to stop; from any thread."""
        return self._stopped(node) or node.attempt != attempt

    def next_attempt(self, node: Node) -> int:
        """Stop the calls of a task's attempts so far; return the number of the next one."""
        self.visited = True
        node.attempt += 1
        self._wake()
        return node.attempt

    def ended(self, node: Node) -> None:
        """Forget a task that has ended; its calls that still run stop at their next checkpoint."""
        self._progressed.pop(node, None)
        self._wake()

    def progress(self, node: Node, attempt: int, report: ProgressReport) -> None:
        """Report the progress of a task, at most every half second; from any thread."""
        self.visited = True
        now = self._clock.monotonic()
        if now - self._progressed.get(node, -PROGRESS_INTERVAL) < PROGRESS_INTERVAL:
            return
        self._progressed[node] = now
        if on_loop(self.loop):
            self._report_progress(node, attempt, report)
            return
        # the loop is closed: the run is over
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._report_progress, node, attempt, report)

    def publish(self, node: Node, attempt: int, name: str, data: Any) -> None:
        """Publish a value of a task, unless this attempt is over; from any thread."""
        if on_loop(self.loop):
            self._publish(node, attempt, name, data)
            return
        # the loop is closed: the run is over
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._publish, node, attempt, name, data)

    def passes(self, node: Node, attempt: int) -> bool:
        """Return whether the task may continue without asking the loop; from any thread.

        :raises asyncio.CancelledError: if it is to stop.
        """
        self.visited = True
        if self.is_over(node, attempt):
            raise asyncio.CancelledError
        return self._controller.policy.gates.is_not_held(self.run_id, node.name)

    async def wait_while_paused(self, node: Node, attempt: int) -> None:
        """Wait until no constraint pauses the task; its time limit stops meanwhile.

        :raises asyncio.CancelledError: if it is to stop.
        """
        reported = False
        try:
            while not self.is_over(node, attempt):
                reason = self._controller.policy.gates.hold_reason(self.run_id, node.name)
                if reason is None:
                    if reported:
                        self._events.task(node, TaskState.RUNNING)
                    return
                if not reported:
                    reported = True
                    self.limits.stop(node, attempt)
                    self._events.task(node, TaskState.BLOCKED, reason=str(reason))
                await self._change()
        finally:
            if reported:
                self.limits.go_on(node, attempt)
        raise asyncio.CancelledError

    def directive(self, node: Node) -> Directive:
        """Return what a running call of a task is to do."""
        reason = self._controller.policy.gates.hold_reason(self.run_id, node.name)
        return Directive.RUN if reason is None else Directive.PAUSE

    def follow(self, call: RemoteCall, notify: Callable[[Directive], None]) -> Callable[[], None]:
        """Call ``notify`` when the directive of a call in another process changes; return how to stop that."""
        self._calls[call] = notify
        call.directive = Directive.RUN
        self._direct(call, notify)
        return functools.partial(self._unfollow, call)

    def _unfollow(self, call: RemoteCall) -> None:
        self._calls.pop(call, None)

    def _direct(self, call: RemoteCall, notify: Callable[[Directive], None]) -> None:
        directive = self.directive(call.node)
        if directive is not call.directive:
            call.directive = directive
            notify(directive)

    def arrived(self, node: Node, attempt: int, *, paused: bool) -> None:
        """Report that a call in another process waits at a checkpoint, or goes on."""
        if self.is_over(node, attempt):
            return
        if not paused:
            self.limits.go_on(node, attempt)
            self._events.task(node, TaskState.RUNNING)
            return
        reason = self._controller.policy.gates.hold_reason(self.run_id, node.name)
        self.limits.stop(node, attempt)
        self._events.task(node, TaskState.BLOCKED, reason=str(reason or "a pause that was just lifted"))

    def wait_for_thread(self, node: Node, attempt: int, answer: Future[None]) -> None:
        """Wait on behalf of a thread, which waits for ``answer``, until no constraint pauses its task."""
        work = self.wait_while_paused(node, attempt)
        waiting = self.loop.create_task(work, name=f"{node.label} at a checkpoint")
        self._threads.add(waiting)
        waiting.add_done_callback(self._threads.discard)
        waiting.add_done_callback(functools.partial(_pass_on, answer))

    def reconsider(self) -> None:
        """Have all tasks check again whether they may continue: constraints have changed, or the run stops."""
        self._wake()
        for call, notify in [*self._calls.items()]:
            self._direct(call, notify)

    def _wake(self) -> None:
        """Have the tasks that wait at a checkpoint check again."""
        for change in self._waiting:
            if not change.done():
                change.set_result(None)

    def _publish(self, node: Node, attempt: int, name: str, data: Any) -> None:
        if not self.is_over(node, attempt):
            self._events.data(node, name, data)

    def _report_progress(self, node: Node, attempt: int, report: ProgressReport) -> None:
        # the task has ended since the thread reported
        if self.is_over(node, attempt):
            self._progressed.pop(node, None)
        else:
            self._events.progress(node, report)

    async def _change(self) -> None:
        change = self.loop.create_future()
        self._waiting.add(change)
        try:
            await change
        finally:
            self._waiting.discard(change)


_Attempt = tuple[Node, int]


class TimeLimits:
    """The limits of the attempts that run on one event loop; a limit stands still while its attempt is paused."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: dict[_Attempt, asyncio.Timeout] = {}
        # seconds, of those that stand still
        self._left: dict[_Attempt, float] = {}

    def begin(self, node: Node, limit: asyncio.Timeout) -> None:
        """Begin to count the time of a task's current attempt."""
        self._running[node, node.attempt] = limit

    def end(self, node: Node, attempt: int) -> None:
        """Forget an attempt."""
        self._running.pop((node, attempt), None)
        self._left.pop((node, attempt), None)

    def is_over(self, node: Node) -> bool:
        """Return whether the limit of a task's current attempt has cancelled it."""
        limit = self._running.get((node, node.attempt))
        return limit is not None and limit.expired()

    def stop(self, node: Node, attempt: int) -> None:
        """Stop the time of an attempt that is paused."""
        limit = self._running.get((node, attempt))
        until = limit.when() if limit is not None else None
        if limit is not None and until is not None and not limit.expired():
            self._left[node, attempt] = max(0.0, until - self._loop.time())
            limit.reschedule(None)

    def go_on(self, node: Node, attempt: int) -> None:
        """Count the time of an attempt again."""
        left = self._left.pop((node, attempt), None)
        limit = self._running.get((node, attempt))
        if left is not None and limit is not None and not limit.expired():
            limit.reschedule(self._loop.time() + left)


class RemoteCall:
    """One call of a task in another process: the :class:`cascade.interfaces.CallContext` of its executor."""

    __slots__ = ("_attempt", "_gate", "_trace", "directive", "node")

    def __init__(self, gate: CheckpointGate, node: Node, attempt: int) -> None:
        # in the context of the attempt: an executor may pack the call in another thread
        self._trace = traceparent.get()
        self._gate = gate
        self._attempt = attempt
        self.node = node
        self.directive = Directive.RUN
        """The one that the executor was notified of."""

    @property
    def step(self) -> StepInfo:
        """Which step the call is."""
        gate, node = self._gate, self.node
        return StepInfo(
            gate.run_id,
            node.key,
            node.name,
            gate.run_attempt,
            self._attempt,
            gate.lease_term,
            self._trace,
        )

    def progress(self, done: float, total: float | None = None, message: str = "", unit: str = "") -> None:
        """Report how far the call is; from any thread."""
        self._gate.progress(self.node, self._attempt, (done, total, message, unit))

    def publish(self, name: str, data: Any) -> None:
        """Publish a value of the call; from any thread."""
        self._gate.publish(self.node, self._attempt, name, data)

    def arrived(self, *, paused: bool) -> None:
        """Report that the call waits at a checkpoint, or goes on; from any thread."""
        arrived = functools.partial(self._gate.arrived, self.node, self._attempt, paused=paused)
        # the loop is closed: the run is over
        with contextlib.suppress(RuntimeError):
            self._gate.loop.call_soon_threadsafe(arrived)

    def follow(self, notify: Callable[[Directive], None]) -> Callable[[], None]:
        """Notify the executor of the directive in force; on the loop."""
        return self._gate.follow(self, notify)


Place = tuple[CheckpointGate, Node, int]
"""Where a checkpoint is: the gate of its run, its task, and the attempt."""

current: ContextVar[Place | None] = ContextVar("cascade task", default=None)


class Checkpoint:
    """What :func:`checkpoint` returns: await it in an async task; a sync one has waited already."""

    __slots__ = ("_place",)

    def __init__(self, place: Place | None) -> None:
        self._place = place

    def __await__(self) -> Generator[Any, None, None]:
        if self._place is not None:
            gate, node, attempt = self._place
            if not gate.passes(node, attempt):
                yield from gate.wait_while_paused(node, attempt).__await__()


def checkpoint(
    *, done: float | None = None, total: float | None = None, message: str = "", unit: str = ""
) -> Checkpoint:
    """Report the progress of this task, and obey pause and cancel: a long task waits or stops here.

    Write ``cs.checkpoint(done=n, total=m)`` in a plain function and ``await cs.checkpoint(...)``
    in an async one. Without the ``await``, and in a task that runs ``inline``, it reports but
    never waits. Progress is published at most twice a second, with a ``message`` of up to 200 characters and
    the ``unit`` of ``done`` and ``total``, such as ``"files"``; both only together with ``done``. Outside of a task it does
    nothing; in a process whose executor offers no context of the call, the first one logs a warning there.

    :raises UsageError: if ``done`` or ``total`` is not a number.
    :raises asyncio.CancelledError: if the task or its run was cancelled, or this attempt of it has ended
        (a thread outlives the time limit of its task).
    """
    if done is not None and type(done) not in _NUMBERS:
        done = _number("done", done)
    if total is not None and type(total) not in _NUMBERS:
        total = _number("total", total)
    if (call := in_call.get()) is not None:
        call.checkpoint((done, total, message, unit) if done is not None else None)
        return _NOWHERE
    place = current.get()
    if place is None:
        if in_worker.get():
            _warn_in_worker()
        return _NOWHERE
    gate, node, attempt = place
    if done is not None:
        gate.progress(node, attempt, (done, total, message, unit))
    if on_loop(gate.loop):
        return Checkpoint(place)
    if not gate.passes(node, attempt):
        _wait_in_thread(gate, node, attempt)
    return _NOWHERE


@functools.cache
def _warn_in_worker() -> None:
    get_logger("cascade.worker").warning(
        "cs.checkpoint() does nothing in this process: its executor passes on no progress, and no pause or cancel; "
        "the task runs to its end"
    )


def _number(name: str, value: Any) -> float:
    """Return a number of another type, such as NumPy's, as a float."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(f"cs.checkpoint({name}=): needs a number, not {value!r:.80}") from None


def on_loop(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether this is the thread in which a loop runs."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _wait_in_thread(gate: CheckpointGate, node: Node, attempt: int) -> None:
    """Block this thread until the task may continue."""
    answer: Future[None] = Future()
    try:
        gate.loop.call_soon_threadsafe(gate.wait_for_thread, node, attempt, answer)
    except RuntimeError:  # the loop is closed: the run is over
        raise asyncio.CancelledError from None
    answer.result()


def _pass_on(answer: Future[None], waiting: asyncio.Task[None]) -> None:
    """Give a thread the result of the wait on its behalf."""
    error = asyncio.CancelledError() if waiting.cancelled() else waiting.exception()
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)


_NOWHERE = Checkpoint(None)
_NUMBERS = (int, float)
