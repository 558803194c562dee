"""End asyncio tasks: the code that cancels a task also awaits it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any
from weakref import WeakSet

abandoned: WeakSet[asyncio.Task[Any]] = WeakSet()
"""Tasks that were cancelled, did not end in time, and were named in a log: no task waits for them."""


async def cancel(tasks: Collection[asyncio.Task[Any]], *, timeout: float) -> set[asyncio.Task[Any]]:
    """Cancel tasks, wait up to ``timeout`` seconds for them, and return those that are still running."""
    if not tasks:
        return set()
    for task in tasks:
        task.cancel()
    _, still_running = await asyncio.wait(tasks, timeout=timeout)
    return still_running


async def finish(
    future: asyncio.Future[Any], *, timeout: float | None = None
) -> asyncio.CancelledError | None:
    """Wait up to ``timeout`` seconds for a future, even if this task is cancelled meanwhile.

    Return that cancellation, or None. The caller raises it when it has nothing left to wait for.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            break
        try:
            await asyncio.wait({future}, timeout=left)
        except asyncio.CancelledError as exc:
            cancelled = exc
    return cancelled
