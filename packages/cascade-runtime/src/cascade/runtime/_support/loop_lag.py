"""Warn about a task that blocks the event loop, and name it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import ClassVar

from cascade.interfaces.logs import get_logger
from cascade.runtime._support.use_counts import Shared

LAG_LIMIT = 1.0
"""Seconds for which the event loop may be blocked before a warning is logged."""

_BEAT = 0.25

_log = get_logger("cascade.engine")


class LoopLagMonitor:
    """Monitors one event loop while any run uses it.

    The loop notes the time every quarter of a second. If it has not done so for
    :data:`LAG_LIMIT`, a thread looks up which task the loop is in and logs one warning for each
    time the loop is blocked. One thread monitors all loops; it ends a quarter of a second after
    the last run, so that short runs in a row share it.

    When the whole process stood still (SIGSTOP, a machine that slept), the thread did not run either, and
    no CPU time was used: then no task is to blame.
    """

    _all: ClassVar[Shared[LoopLagMonitor]] = Shared()
    _lock: ClassVar[threading.Lock] = threading.Lock()
    _thread: ClassVar[threading.Thread | None] = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.inline: Callable[[], str] | None = None
        """Returns the name of the task whose function the loop calls without an asyncio task."""
        self._loop = loop
        self._warned_at_beat = 0.0
        self._beat()

    @classmethod
    def join(cls, loop: asyncio.AbstractEventLoop) -> LoopLagMonitor:
        """Monitor the running loop of this thread until ``leave()`` was called as often as this."""
        with cls._lock:
            monitor = cls._all.join(loop, make=lambda: cls(loop))
            cls._ensure_thread()
        return monitor

    def leave(self) -> None:
        """Stop monitoring, unless another run has joined."""
        with self._lock:
            if self._all.leave(self._loop) is not None:
                self._handle.cancel()

    @classmethod
    def forget(cls) -> None:
        """Reset in a forked child, which has neither the thread nor the loops."""
        cls._lock, cls._thread, cls._all = threading.Lock(), None, Shared()

    @classmethod
    def _ensure_thread(cls) -> None:
        if cls._thread is None:
            cls._thread = threading.Thread(target=cls._monitor, name="cascade loop lag", daemon=True)
            cls._thread.start()

    @classmethod
    def _monitor(cls) -> None:
        last = time.monotonic(), time.process_time()
        while monitors := cls._monitors():
            now = time.monotonic(), time.process_time()
            stood_still = _stood_still(now[0] - last[0], now[1] - last[1])
            last = now
            for monitor in monitors:
                if stood_still:
                    monitor._excuse()
                else:
                    monitor._check(now[0])
            # so that this thread does not keep a finished loop alive
            del monitor, monitors
            time.sleep(_BEAT)

    @classmethod
    def _monitors(cls) -> list[LoopLagMonitor]:
        with cls._lock:
            monitors = cls._all.values()
            if not monitors:
                cls._thread = None
            return monitors

    def _beat(self) -> None:
        self._last_beat = time.monotonic()
        self._handle = self._loop.call_later(_BEAT, self._beat)

    def _excuse(self) -> None:
        """Measure from now on: the loop could not note the time. A task that was named is not named again."""
        is_logged = self._warned_at_beat == self._last_beat
        self._last_beat = time.monotonic()
        if is_logged:
            self._warned_at_beat = self._last_beat

    def _check(self, now: float) -> None:
        """Warn if the loop was blocked at a moment; the process may have stood still since then."""
        last_beat = self._last_beat
        if now - last_beat > LAG_LIMIT and self._warned_at_beat != last_beat:
            self._warned_at_beat = last_beat
            self._warn()

    def _warn(self) -> None:
        inline, task = self.inline, asyncio.current_task(self._loop)
        name = inline() if inline is not None else task.get_name() if task is not None else None
        _log.warning(
            "%s holds the event loop for more than %g s: events and control wait; "
            "make it a plain function (it then runs in a thread) or add an await to it",
            f"task {name!r}" if name is not None else "a callback outside of any task",
            LAG_LIMIT,
        )


def _stood_still(elapsed: float, worked: float) -> bool:
    """Return whether the process did not run between two checks of the thread, in seconds of time and CPU time.

    A call that holds the interpreter's lock delays the thread, too, but uses CPU time meanwhile.
    """
    return elapsed > LAG_LIMIT and worked < elapsed / 2


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LoopLagMonitor.forget)
