"""SIGTERM treated like the first Ctrl-C, for as long as a run lasts."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from types import FrameType, TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

TERMINATED = 128 + signal.SIGTERM
"""The exit status of a process that SIGTERM has ended."""


class Termination:
    """Cancels the coroutine that it guards at the first SIGTERM, and exits at the second.

    It does so in the main thread only, and only where nobody else handles SIGTERM; the handler
    is put back at the end.
    """

    def __init__(self) -> None:
        self._count = 0
        self._guarded: asyncio.Task[Any] | None = None
        self._installed = False

    def __enter__(self) -> Termination:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._terminate)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._count and isinstance(error, asyncio.CancelledError):
            raise SystemExit(TERMINATED) from None

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work``; this is the task that SIGTERM cancels."""
        self._guarded = asyncio.current_task()
        return await work

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1 or self._guarded is None or self._guarded.done():
            raise SystemExit(TERMINATED)
        self._guarded.cancel()
        self._guarded.get_loop().call_soon_threadsafe(lambda: None)  # wakes a loop that waits in select
