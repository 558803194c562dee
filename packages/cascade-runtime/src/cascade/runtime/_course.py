"""What a run does beside its tasks' attempts: permission before them, waits between them, words about them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cascade.interfaces import Clock, Executor, TaskState
from cascade.runtime._clock import call_later_on, pause
from cascade.runtime._entrance import Entrance
from cascade.runtime._holds import Holds
from cascade.runtime._outcome import Outcome
from cascade.runtime._telling import Teller
from cascade.runtime.checkpoint import current
from cascade.runtime.node import Node


class Course:
    """The course that the tasks of one run take, from their first attempt to the end of their last.

    ``ready`` returns the executor of a mode, made ready; ``wake`` is called when something may
    have become ready.
    """

    def __init__(
        self,
        entrance: Entrance,
        outcome: Outcome,
        holds: Holds,
        teller: Teller,
        *,
        clock: Clock,
        ready: Callable[[str], Awaitable[Executor]],
        wake: Callable[[], None],
    ) -> None:
        self._entrance = entrance
        self._outcome = outcome
        self._holds = holds
        self._teller = teller
        self._clock = clock
        self._call_later = call_later_on(clock)
        self._ready = ready
        self._wake = wake

    async def lead_to(self, mode: str) -> None:
        """Have the executor of a mode made ready, if no task has needed it before.

        :raises ExecutorUnavailable: if what it runs its calls on is not there.
        """
        if not self._entrance.leads_to(mode):
            self._entrance.lead_to(mode, await self._ready(mode))

    async def permit(self, node: Node) -> bool:
        """Wait for the turn of a task that holds nothing; return whether it was told that it waits.

        :raises ExecutorUnavailable: if what it should run on is not there.
        :raises asyncio.CancelledError: if it is to stop.
        """
        if not node.definition.on_loop:
            await self.lead_to(node.definition.mode)
        held = await self._entrance.permit(node)
        if self._outcome.is_stopped(node):
            raise asyncio.CancelledError
        return held

    def begin(self, node: Node) -> None:
        """Tell that a task's function is about to be called for the first time."""
        if self._teller.wants_tasks():
            self._outcome.began[node] = self._clock.monotonic()
            self._teller.task(node, TaskState.RUNNING)

    def spare(self, node: Node, reason: str) -> None:
        """Note that a task need not run, and why: it is told when its value is there."""
        self._outcome.spared[node] = reason

    async def again(self, node: Node, error: Exception, delay: float, reason: str) -> None:
        """Tell that an attempt failed, wait ``delay`` seconds, and for permission to try again.

        :raises Exception: ``error``, if the run or the task is being stopped: there is no next one.
        """
        if self._outcome.is_stopped(node):
            raise error
        began = self._outcome.began.get(node, 0.0)
        delayed = pause(self._call_later, delay)  # who hears of it may move the clock
        self._teller.task(node, TaskState.RETRYING, began, error=error, reason=reason)
        current.set((self._holds, node, self._holds.next_attempt(node)))
        self._entrance.step_out(node)
        self._wake()  # the worker that it gave back may be what another task needs
        await delayed
        if await self.permit(node):
            self._teller.task(node, TaskState.RUNNING, began)

    def runs_on(self, node: Node, ended: asyncio.Future[None]) -> None:
        """Record that a call of the task was given up and runs on until ``ended`` is done."""
        self._entrance.runs_on(node, ended)
