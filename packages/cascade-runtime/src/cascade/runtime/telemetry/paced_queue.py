"""A queue of events that are encoded in the time that tasks leave to the event loop."""

from __future__ import annotations

import asyncio
import time
from asyncio import _get_running_loop as _running_loop
from collections import deque
from collections.abc import Callable

from cascade.interfaces import Event
from cascade.interfaces.logs import get_logger
from cascade.transport.state_log import StateLog

CAPACITY = 65_536
"""Events that wait; when more come, the oldest are encoded at once."""
TURN = 0.005
"""Seconds between two turns while events wait."""
SLICE = 0.0005
"""The longest turn, in seconds."""
BUSY = 0.5
"""Part of the time up to which telemetry may fill the loop; a busier loop has tasks that go first."""
LATE = 2.0
"""Seconds after which events no longer wait for tasks: a watcher must not lag behind the run."""
DRAINED = 0.001
"""Seconds of encoding in one iteration once the run is over: the connector sends in the same iteration."""

_SENDING = 5  # to send a message takes so many times as long as to encode it

_log = get_logger("cascade.telemetry")


class PacedQueue:
    """Encodes events in order, in the time that tasks leave to the event loop.

    To encode and send an event takes longer than a small task, and no run may wait for its telemetry.

    :param encode: encodes and publishes one event. Its errors are logged.
    """

    def __init__(self, encode: Callable[[Event], None]) -> None:
        self._encode = encode
        self._events: deque[Event] = deque()
        self._encoded = 0  # events so far
        # has a turn planned
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting_since = self._last_turn = 0.0
        self._worked = 0.0  # CPU time of the loop's thread at the latest turn
        self._state = StateLog(_log)

    def add(self, event: Event) -> None:
        """Encode an event in the loop's next iteration, or later if the loop is busy; without a running loop, at once."""
        loop = _running_loop()
        self._events.append(event)
        if loop is None:
            self.run_all()
        elif loop is not self._loop:
            self._loop, self._waiting_since = loop, time.monotonic()
            loop.call_soon(self._turn, loop)
        elif len(self._events) > CAPACITY:
            self._encode_next()

    def run_all(self) -> None:
        """Encode everything that waits."""
        while self._events:
            self._encode_next()

    async def drain(self, timeout: float) -> None:
        """Encode the events that wait now, in short turns for ``timeout`` seconds, then at once."""
        until, last = time.monotonic() + timeout, self._encoded + len(self._events)
        while self._encoded < last and time.monotonic() < until:
            self._run(DRAINED)
            await asyncio.sleep(0)
        while self._encoded < last:
            self._encode_next()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:  # another loop has taken over
            return
        self._run(self._time_for_it())
        if self._events:
            loop.call_later(TURN, self._turn, loop)
        else:
            self._loop = None

    def _time_for_it(self) -> float:
        """Return for how many seconds to encode, after what the loop has done since the latest turn."""
        now, worked = time.monotonic(), time.thread_time()
        passed, busy = now - self._last_turn, worked - self._worked
        self._last_turn, self._worked = now, worked
        if now - self._waiting_since > LATE:
            return SLICE
        return min(SLICE, (BUSY * passed - busy) / _SENDING)

    def _run(self, seconds: float) -> None:
        """Encode for so many seconds, and one event at least."""
        until = time.monotonic() + seconds
        while self._events:
            self._encode_next()
            if time.monotonic() >= until:
                return

    def _encode_next(self) -> None:
        self._encoded += 1
        try:
            self._encode(self._events.popleft())
        except Exception as exc:
            self._state.failed(
                "encode",
                "an event is not sent; the run goes on, further failures in a row are not logged",
                exc_info=exc,
            )
        else:
            self._state.works("encode")
