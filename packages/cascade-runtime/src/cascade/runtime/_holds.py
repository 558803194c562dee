"""The tasks of one run as their checkpoints see them: stopped, held or free to go on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from cascade.interfaces import Clock, TaskState
from cascade.runtime._telling import Teller
from cascade.runtime.checkpoint import PROGRESS_INTERVAL, on_loop
from cascade.runtime.constraints import Turnstile
from cascade.runtime.node import Node


class Holds:
    """A run as its tasks' checkpoints see it; see :class:`cascade.runtime.checkpoint.Station`.

    A call that cannot be stopped outlives its attempt. So each attempt of a task has a number,
    and what was called in one that is over is stopped for good.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        turnstile: Turnstile,
        teller: Teller,
        run_id: str,
        *,
        clock: Clock,
        stopped: Callable[[Node], bool],
    ) -> None:
        self.loop = loop
        self.visited = False
        """Whether any checkpoint was ever reached, or an attempt was followed by another one."""
        self._turnstile = turnstile
        self._teller = teller
        self._run_id = run_id
        self._clock = clock
        self._stopped = stopped
        self._attempts: dict[Node, int] = {}  # the numbers of those attempts that are not the first
        self._progressed: dict[Node, float] = {}  # when a task was last told of
        self._waiting: set[asyncio.Future[None]] = set()
        self._threads: set[asyncio.Task[None]] = set()  # each waits in the place of a thread

    def is_over(self, node: Node, attempt: int) -> bool:
        """Return whether what was called in this attempt is to stop; from any thread."""
        return self._stopped(node) or self._attempts.get(node, 0) != attempt

    def next_attempt(self, node: Node) -> int:
        """Stop what was called in a task's attempts so far; return the number of the next one."""
        self.visited = True
        number = self._attempts[node] = self._attempts.get(node, 0) + 1
        self.reconsider()
        return number

    def ended(self, node: Node) -> None:
        """Forget a task that has ended: whatever of it still runs is stopped."""
        self._attempts.pop(node, None)
        self._progressed.pop(node, None)
        self.reconsider()

    def progress(self, node: Node, attempt: int, done: float, total: float | None) -> None:
        """Tell how far a task is, unless it was told a moment ago; from any thread."""
        self.visited = True
        now = self._clock.monotonic()
        if now - self._progressed.get(node, -PROGRESS_INTERVAL) < PROGRESS_INTERVAL:
            return
        self._progressed[node] = now
        if on_loop(self.loop):
            self._tell_progress(node, attempt, done, total)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody is left to tell
            self.loop.call_soon_threadsafe(self._tell_progress, node, attempt, done, total)

    def passes(self, node: Node, attempt: int) -> bool:
        """Return whether the task may go on without asking the loop; from any thread.

        :raises asyncio.CancelledError: if it is to stop.
        """
        self.visited = True
        if self.is_over(node, attempt):
            raise asyncio.CancelledError
        return self._turnstile.admission.gates.passes(self._run_id, node.name)

    async def hold(self, node: Node, attempt: int) -> None:
        """Wait until nothing pauses the task.

        :raises asyncio.CancelledError: if it is to stop.
        """
        told = False
        while not self.is_over(node, attempt):
            obstacle = self._turnstile.admission.gates.paused(self._run_id, node.name)
            if obstacle is None:
                if told:
                    self._teller.task(node, TaskState.RUNNING)
                return
            if not told:
                told = True
                self._teller.task(node, TaskState.BLOCKED, reason=str(obstacle))
            await self._change()
        raise asyncio.CancelledError

    def hold_thread(self, node: Node, attempt: int, verdict: Future[None]) -> None:
        """Let a thread wait for its verdict until nothing pauses its task."""
        held = self.loop.create_task(self.hold(node, attempt), name=f"{node.task_id} at a checkpoint")
        self._threads.add(held)
        held.add_done_callback(self._threads.discard)
        held.add_done_callback(partial(_pass_on, verdict))

    def reconsider(self) -> None:
        """Let everybody who waits look again."""
        for change in self._waiting:
            if not change.done():
                change.set_result(None)

    def _tell_progress(self, node: Node, attempt: int, done: float, total: float | None) -> None:
        """Tell it, unless the task ended while the word was on its way to the loop."""
        if self.is_over(node, attempt):
            self._progressed.pop(node, None)
        else:
            self._teller.progress(node, done, total)

    async def _change(self) -> None:
        change = self.loop.create_future()
        self._waiting.add(change)
        try:
            await change
        finally:
            self._waiting.discard(change)


def _pass_on(verdict: Future[None], held: asyncio.Task[None]) -> None:
    """Tell a thread what has come of its wait."""
    error = asyncio.CancelledError() if held.cancelled() else held.exception()
    if error is None:
        verdict.set_result(None)
    else:
        verdict.set_exception(error)
