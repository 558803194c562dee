"""Events of a burst, which are encoded behind the tasks that made them."""

from __future__ import annotations

import asyncio
import time
from asyncio import _get_running_loop as _running_loop
from collections import deque
from collections.abc import Callable, Sequence

from cascade.interfaces import Event, TaskFields
from cascade.interfaces.logs import get_logger
from cascade.transport.yielding import LOOP_BUDGET

_log = get_logger("cascade.telemetry")

AT_ONCE = 16
"""Events of one iteration of the event loop that are encoded at once; further ones wait."""
CAPACITY = 65_536
"""Events that wait; when more come, the oldest are encoded at once."""
SHARE = 0.01
"""Part of a busy event loop's CPU time that encoding takes: to send the messages meanwhile takes ten times as long."""
LEAST = 0.0002
"""Seconds of encoding at a time, at least; an iteration of the loop that took less time than this had little to do."""

DRAINED = 0.001
"""Seconds of encoding at a time once the run is over: in the same iteration the connector sends and reads answers."""

_CHUNK = 16


class Backlog:
    """Encodes events in order: a few at once, those of a burst in slices of the next iterations.

    A task's end waits for what its events cost. So in a burst they are only kept, and the encoding takes a hundredth of
    the loop's time while tasks use the rest of it.

    :param encode: encodes and publishes an event, or the event of a task that has these fields; its error is raised by :meth:`add`, or logged if the event waited.
    """

    def __init__(self, encode: Callable[[Event | TaskFields], None]) -> None:
        self._encode = encode
        self._events: deque[Event | TaskFields] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failing = False
        self._burst = 0  # events of this iteration that were encoded at once, and 1
        self._rested = (
            0.0  # when this iteration began, in CPU time: on a busy machine it counts only what the loop does
        )
        self._owed = 0.0  # seconds of encoding that busy iterations have left over

    def __len__(self) -> int:
        """Return how many events wait."""
        return len(self._events)

    def add(self, event: Event | TaskFields) -> None:
        """Encode an event, now or behind those that wait."""
        if (
            not self._burst or _running_loop() is not self._loop  # that loop is over, or does not run now
        ) and not self._begin_iteration():
            self.run_all()
            self._encode(event)
            return
        events = self._events
        if events or self._burst > AT_ONCE:
            events.append(event)
            if len(events) > CAPACITY:
                self._run(_CHUNK)
        else:
            self._burst += 1
            self._encode(event)

    def extend(self, events: Sequence[Event | TaskFields]) -> None:
        """Encode events that came one after the other, now or behind those that wait."""
        if not self._events or len(events) == 1 or _running_loop() is not self._loop:
            for each in events:
                self.add(each)
            return
        if not self._burst:
            self._begin_iteration()
        self._events.extend(events)
        self._run(max(0, len(self._events) - CAPACITY))

    def run_all(self) -> None:
        """Encode everything that waits."""
        self._run(len(self._events))

    async def drain(self, timeout: float) -> None:
        """Encode everything that waits, in slices for ``timeout`` seconds, then at once."""
        until = time.monotonic() + timeout
        while self._events and time.monotonic() < until:
            self._run_slice(DRAINED)
            if self._events:
                await asyncio.sleep(0)
        self.run_all()

    def _begin_iteration(self) -> bool:
        """Have :meth:`_continue` called in the next iteration of the running loop; return whether there is a loop."""
        self._loop = loop = _running_loop()
        if loop is None:
            self._burst = 0
            return False
        self._burst = 1
        self._rested = time.thread_time()
        loop.call_soon(self._continue)
        return True

    def _continue(self) -> None:
        self._burst = 0
        if self._events:
            passed = time.thread_time() - self._rested
            self._owed += SHARE * passed
            if passed < LEAST or self._owed >= LEAST:
                self._run_slice(min(LOOP_BUDGET, max(LEAST, self._owed)))
                self._owed = 0.0
            self._begin_iteration()

    def _run_slice(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._events and time.monotonic() < until:
            self._run(_CHUNK)

    def _run(self, count: int) -> None:
        events = self._events
        for _ in range(min(count, len(events))):
            try:
                self._encode(events.popleft())
            except Exception:
                self._report()
            else:
                self._failing = False

    def _report(self) -> None:
        """Log a failure once, until an event was encoded again."""
        if not self._failing:
            self._failing = True
            _log.exception("an event is not sent; the run goes on, further failures in a row are not logged")
