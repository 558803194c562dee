"""Notices a task that blocks the event loop, and names it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from types import TracebackType

LAG_LIMIT = 1.0
"""Seconds for which the loop may be held before somebody is told."""

_BEAT = 0.25

_log = logging.getLogger("cascade.engine")


class LagWatch:
    """Watches the loop while a run is on, from a thread that starts after the first beat.

    The loop notes the time every quarter of a second; when it has not done so for
    :data:`LAG_LIMIT`, the thread asks which task the loop is in, and warns once for each hold.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._last = 0.0

    def __enter__(self) -> LagWatch:
        self._beat_later()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._ended.set()

    def _beat_later(self) -> None:
        self._last = time.monotonic()
        self._handle = self._loop.call_later(_BEAT, self._beat)

    def _beat(self) -> None:
        self._beat_later()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="cascade lag watch", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        told = 0.0
        while not self._ended.wait(_BEAT):
            last = self._last
            if time.monotonic() - last > LAG_LIMIT and told != last:
                told = last
                self._warn()

    def _warn(self) -> None:
        task = asyncio.current_task(self._loop)
        _log.warning(
            "%s holds the event loop for more than %g s: events and control wait; "
            "make it a plain function (it then runs in a thread) or let it await",
            f"task {task.get_name()!r}" if task else "something outside of any task",
            LAG_LIMIT,
        )
