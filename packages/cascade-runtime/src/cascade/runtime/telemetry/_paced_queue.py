"""Events that wait until the event loop has time to encode them."""

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
SHARE = 0.005
"""Part of a busy loop's CPU time that encoding takes: sending the messages takes ten times as long."""
SLICE = 0.0002
"""Seconds of encoding in one iteration of the loop: of an idle one, whose other work takes less than this, or if so much is owed."""
DRAINED = 0.001
"""Seconds of encoding in one iteration once the run is over: the connector sends in the same iteration."""

_log = get_logger("cascade.telemetry")


class PacedQueue:
    """Encodes events in order, between the tasks that make them: a busy loop gives little time to it, an idle one all.

    Encoding and sending an event takes longer than a small task, and a run must not wait for its telemetry.

    :param encode: encodes and publishes one event. Its errors are logged.
    """

    def __init__(self, encode: Callable[[Event], None]) -> None:
        self._encode = encode
        self._events: deque[Event] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None  # whose next iteration calls _turn()
        self._worked = 0.0  # CPU time of the loop's thread when that was planned
        self._owed = 0.0  # seconds of encoding that busy iterations have left over
        self._encoded = 0  # events so far
        self._state = StateLog(_log)

    def add(self, event: Event) -> None:
        """Encode an event in one of the loop's next iterations; without a running loop, at once."""
        loop = _running_loop()
        self._events.append(event)
        if loop is None:
            self.run_all()
        elif loop is not self._loop:
            self._plan(loop)
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

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._worked = time.thread_time()
        loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:  # another loop has taken over
            return
        passed = time.thread_time() - self._worked
        self._owed += SHARE * passed
        if passed < SLICE or self._owed >= SLICE:
            self._run(SLICE)
            self._owed = 0.0
        if self._events:
            self._plan(loop)
        else:
            self._loop = None

    def _run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._events and time.monotonic() < until:
            self._encode_next()

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
