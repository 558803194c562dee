"""Notices a task that blocks the event loop, and names it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from typing import ClassVar

LAG_LIMIT = 1.0
"""Seconds for which the loop may be held before somebody is told."""

_BEAT = 0.25

_log = logging.getLogger("cascade.engine")


class LagWatch:
    """Watches one loop while any run is on there.

    The loop notes the time every quarter of a second; when it has not done so for
    :data:`LAG_LIMIT`, a thread asks which task the loop is in, and warns once for each hold.
    There is one thread for all loops; it ends a beat after the last run, so that short runs in
    a row share it.
    """

    _all: ClassVar[dict[asyncio.AbstractEventLoop, LagWatch]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()
    _thread: ClassVar[threading.Thread | None] = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._runs = 0
        self._told = 0.0
        self._beat()

    @classmethod
    def join(cls, loop: asyncio.AbstractEventLoop) -> LagWatch:
        """Watch this loop until ``leave()`` was called as often as this."""
        with cls._lock:
            watch = cls._all.get(loop) or cls._all.setdefault(loop, cls(loop))
            watch._runs += 1
            cls._have_thread()
        return watch

    def leave(self) -> None:
        """End the watch, if nobody else has joined it."""
        with self._lock:
            self._runs -= 1
            if not self._runs:
                self._handle.cancel()
                self._all.pop(self._loop, None)

    @classmethod
    def forget(cls) -> None:
        """Begin anew in a forked child, which has neither the thread nor the loops."""
        cls._lock, cls._thread = threading.Lock(), None
        cls._all.clear()

    @classmethod
    def _have_thread(cls) -> None:
        if cls._thread is None:
            cls._thread = threading.Thread(target=cls._watch, name="cascade lag watch", daemon=True)
            cls._thread.start()

    @classmethod
    def _watch(cls) -> None:
        while watched := cls._watched():
            for watch in watched:
                watch._look()
            del watch, watched  # a loop that is done must not be kept
            time.sleep(_BEAT)

    @classmethod
    def _watched(cls) -> list[LagWatch]:
        with cls._lock:
            if not cls._all:
                cls._thread = None
            return list(cls._all.values())

    def _beat(self) -> None:
        self._last = time.monotonic()
        self._handle = self._loop.call_later(_BEAT, self._beat)

    def _look(self) -> None:
        last = self._last
        if time.monotonic() - last > LAG_LIMIT and self._told != last:
            self._told = last
            self._warn()

    def _warn(self) -> None:
        task = asyncio.current_task(self._loop)
        _log.warning(
            "%s holds the event loop for more than %g s: events and control wait; "
            "make it a plain function (it then runs in a thread) or let it await",
            f"task {task.get_name()!r}" if task else "something outside of any task",
            LAG_LIMIT,
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LagWatch.forget)
