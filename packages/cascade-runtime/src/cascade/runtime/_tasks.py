"""Ending asyncio tasks: whoever cancels, waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any


async def cancel(tasks: Collection[asyncio.Task[Any]], *, timeout: float) -> set[asyncio.Task[Any]]:
    """Cancel tasks, wait up to ``timeout`` seconds, and return those that would not end."""
    if not tasks:
        return set()
    for task in tasks:
        task.cancel()
    _, stubborn = await asyncio.wait(tasks, timeout=timeout)
    return stubborn


async def finish(
    ending: asyncio.Future[Any], *, timeout: float | None = None
) -> asyncio.CancelledError | None:
    """Wait up to ``timeout`` seconds for an end, also when cancelled meanwhile; return that cancel.

    It is for the caller to raise when nothing is left to be waited for.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    cancelled: asyncio.CancelledError | None = None
    while not ending.done():
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            break
        try:
            await asyncio.wait({ending}, timeout=left)
        except asyncio.CancelledError as exc:
            cancelled = exc
    return cancelled
