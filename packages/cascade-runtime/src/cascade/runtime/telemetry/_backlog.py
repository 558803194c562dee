"""Events of a burst, which are encoded behind the tasks that made them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from cascade.interfaces import Event, TaskState, TaskStateEvent
from cascade.interfaces.logs import get_logger
from cascade.interfaces.wire.write import Series
from cascade.transport.yielding import LOOP_BUDGET

_log = get_logger("cascade.telemetry")

AT_ONCE = 16
"""Events of one iteration of the event loop that are encoded at once; further ones wait."""
CAPACITY = 65_536
"""Events that wait; when more come, the oldest are encoded at once."""
SHARE = 0.05
"""Part of a busy event loop's CPU time that encoding takes."""
LEAST = 0.0002
"""Seconds of encoding at a time, at least; an iteration of the loop that took less time than this had little to do."""

DRAINED = 0.001
"""Seconds of encoding at a time once the run is over: in the same iteration the connector sends and reads answers."""

_CHUNK = 16

Fields = tuple[object, ...]
"""A ``TaskStateEvent`` as a plain tuple with the text of its state: the garbage collector need not look into it."""


class Backlog:
    """Encodes events in order: a few at once, those of a burst in slices of the next iterations.

    A task's end waits for what its events cost. So in a burst they only cost the making of a tuple, and the encoding
    takes a twentieth of the loop's time while tasks use the rest of it.

    :param encode: encodes and publishes an event, or the fields of one that waited; its error is raised by :meth:`add`, or logged if the event waited.
    """

    def __init__(self, encode: Callable[[Series, Event | Fields], None]) -> None:
        self._encode = encode
        self._series: deque[Series] = deque()
        self._events: deque[Event | Fields] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failing = False
        self._burst = 0  # events of this iteration, and 1
        self._rested = (
            0.0  # when this iteration began, in CPU time: on a busy machine it counts only what the loop does
        )
        self._owed = 0.0  # seconds of encoding that busy iterations have left over

    def __len__(self) -> int:
        """Return how many events wait."""
        return len(self._events)

    def add(self, series: Series, event: Event) -> None:
        """Encode an event, now or behind those that wait."""
        if self._burst and asyncio._get_running_loop() is not self._loop:
            self._burst = 0  # that loop is over, or does not run now
        if not self._burst and not self._begin_iteration():
            self.run_all()
            self._encode(series, event)
            return
        self._burst += 1
        if self._burst <= AT_ONCE + 1 and not self._events:
            self._encode(series, event)
            return
        self._series.append(series)
        self._events.append(_plain(event) if type(event) is TaskStateEvent else event)
        if len(self._events) > CAPACITY:
            self._run(_CHUNK)

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
        self._loop = loop = asyncio._get_running_loop()
        if loop is None:
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
        series, events = self._series, self._events
        for _ in range(min(count, len(events))):
            try:
                self._encode(series.popleft(), events.popleft())
            except Exception:
                self._report()
            else:
                self._failing = False

    def _report(self) -> None:
        """Log a failure once, until an event was encoded again."""
        if not self._failing:
            self._failing = True
            _log.exception("an event is not sent; the run goes on, further failures in a row are not logged")


def _plain(event: TaskStateEvent) -> Fields:
    fields: list[object] = [*event]
    fields[3] = event.state._value_
    return tuple(fields)


def event_of(fields: Fields) -> TaskStateEvent:
    """Return the event again."""
    return tuple.__new__(TaskStateEvent, (*fields[:3], _STATES[fields[3]], *fields[4:]))


_STATES: dict[object, TaskState] = {state._value_: state for state in TaskState}
