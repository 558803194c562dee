"""When what is ready is started: a batch in each turn of the event loop, so that all others get theirs."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

from cascade.interfaces import Clock
from cascade.runtime._outcome import Outcome
from cascade.runtime._pace import Pace
from cascade.runtime.node import Node
from cascade.runtime.run import RunState


class Batches:
    """Starts the nodes of one run that are ready, until the run is over.

    All is started in ``context``, for who wakes may be a task that has set something of its own.
    ``has_room`` tells whether it makes sense to start a call of a mode now; ``start`` starts one node.
    """

    def __init__(
        self,
        state: RunState,
        outcome: Outcome,
        *,
        clock: Clock,
        context: contextvars.Context,
        has_room: Callable[[str], bool],
        start: Callable[[Node], None],
    ) -> None:
        self.due: asyncio.Handle | None = None
        """The turn that will start the next batch."""
        self._state = state
        self._abort = outcome.abort
        self._over = outcome.finished.done
        self._clock = clock
        self._has_room = has_room
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._pace = Pace()
        self._full_since = 0.0  # when a turn that started a full batch began, else 0

    def wake(self) -> None:
        """Start what is ready in the next turn of the loop."""
        if self.due is None and not self._over():
            self.due = self._loop.call_soon(self._turn, context=self._context)

    def proceed(self) -> None:
        """Wake if anything is ready."""
        if self.due is None and self._state.ready:
            self.wake()

    def stop(self) -> None:
        """Start nothing in the turn that is due."""
        if self.due is not None:
            self.due.cancel()

    def _turn(self) -> None:
        now = self._clock.monotonic()
        if self._full_since:
            self._pace.learn(now - self._full_since)
        self.due = None
        try:
            full = self._start_batch() >= self._pace.batch
        except BaseException as exc:  # nobody awaits this callback: the run has to be told
            self._abort(exc)
            return
        self._full_since = now if full else 0.0
        if full:
            self.wake()

    def _start_batch(self) -> int:
        """Start up to a batch of what is ready; return how many."""
        most, started = self._pace.batch, 0
        start, over = self._start, self._over
        for mode, queue in self._state.offloaded.items():
            while queue and started < most and not over() and self._has_room(mode):
                start(queue.popleft())
                started += 1
        on_loop = self._state.on_loop
        while on_loop and started < most and not over():
            start(on_loop.popleft())
            started += 1
        return started
