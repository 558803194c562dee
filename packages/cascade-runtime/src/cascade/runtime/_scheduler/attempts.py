"""The attempts of tasks: admission before them, delays between them, events about them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from cascade.interfaces import Executor, TaskState
from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.admission_client import RunAdmission
from cascade.runtime._scheduler.checkpoints import CheckpointGate, RemoteCall, current
from cascade.runtime._scheduler.outcome import RunOutcome
from cascade.runtime._scheduler.run_parts import RunParts
from cascade.runtime._support.clock import after, call_later_on


class AttemptContext:
    """Serves the tasks of one run between their attempts.

    ``ready`` returns the executor of a mode, made ready; ``wake`` is called when a task may
    have become ready.
    """

    def __init__(
        self,
        admission: RunAdmission,
        outcome: RunOutcome,
        checkpoints: CheckpointGate,
        parts: RunParts,
        *,
        ready: Callable[[str], Awaitable[Executor]],
        wake: Callable[[], None],
    ) -> None:
        self._admission = admission
        self._outcome = outcome
        self._checkpoints = checkpoints
        self._events, self._clock, self._recording = parts.events, parts.clock, parts.recording
        self._call_later = call_later_on(parts.clock)
        self._ready = ready
        self._wake = wake

    async def make_ready(self, mode: str) -> None:
        """Have the executor of a mode made ready, if no task has needed it before.

        :raises ExecutorUnavailable: if what it runs its calls on is not there.
        """
        if not self._admission.has_executor(mode):
            self._admission.add_executor(mode, await self._ready(mode))

    async def admit(self, node: Node) -> bool:
        """Wait until a task may run; return whether it was reported as blocked meanwhile.

        :raises ExecutorUnavailable: if what it should run on is not there.
        :raises asyncio.CancelledError: if it is to stop.
        """
        if not node.definition.on_loop:
            await self.make_ready(node.definition.mode)
        blocked = await self._admission.acquire(node)
        if self._outcome.is_stopped(node):
            raise asyncio.CancelledError
        return blocked

    def begin(self, node: Node) -> None:
        """Report that a task's function is about to be called for the first time.

        A later attempt is reported as RUNNING only if it was blocked; :meth:`retry` has reported the one before it.
        """
        if self._events.wants_tasks():
            self._outcome.began[node] = self._clock.monotonic()
            self._events.task(node, TaskState.RUNNING)

    def skip(self, node: Node, reason: str) -> None:
        """Note why a task need not run: it is reported as skipped when its value is there."""
        self._outcome.skip_reasons[node] = reason

    async def retry(self, node: Node, error: Exception, delay: float, reason: str) -> None:
        """Report a failed attempt, wait ``delay`` seconds, and then for permission to try again.

        :raises Exception: ``error``, if the run or the task is being stopped: it is not tried again.
        """
        if self._outcome.is_stopped(node):
            raise error
        if self._recording is not None:
            self._recording.before_retry(node, error, delay)
        began = self._outcome.began.get(node, 0.0)
        # before the event: an observer of it may move the clock
        delayed = after(self._call_later, delay)
        self._events.task(node, TaskState.RETRYING, began, error=error, reason=reason)
        self._events.waits(node, delay)
        current.set((self._checkpoints, node, self._checkpoints.next_attempt(node)))
        self._admission.release_between_attempts(node)
        self._wake()  # another task may need the worker that this one gave back
        await delayed
        if await self.admit(node):
            self._events.task(node, TaskState.RUNNING, began)
        else:
            self._events.attempt_begins(node)

    async def resume(self, node: Node, delay: float, *, admitted: bool) -> None:
        """Wait the rest of a delay between two attempts, which a process that was killed had begun to wait."""
        current.set((self._checkpoints, node, node.attempt))
        if delay <= 0:
            return
        if admitted:
            self._admission.release_between_attempts(node)
        self._wake()
        await after(self._call_later, delay)
        if admitted:
            await self.admit(node)

    def call_context(self, node: Node) -> RemoteCall:
        """Return the context of a call of a task's current attempt in another process."""
        return RemoteCall(self._checkpoints, node, node.attempt)

    @contextlib.contextmanager
    def limited(self, node: Node, limit: asyncio.Timeout) -> Iterator[None]:
        """Let the time limit of a task's current attempt, which has begun, stand still while the task is paused."""
        attempt = node.attempt
        self._checkpoints.limits.begin(node, limit)
        try:
            yield
        finally:
            self._checkpoints.limits.end(node, attempt)

    def is_over_limit(self, node: Node) -> bool:
        """Return whether the time limit of a task's current attempt has cancelled it."""
        return self._checkpoints.limits.is_over(node)

    def runs_on(self, node: Node, ended: asyncio.Future[Any]) -> None:
        """Record that a call of the task was abandoned and still runs until ``ended`` is done."""
        self._admission.abandon(node, ended)
