"""Ending asyncio tasks: whoever cancels, waits."""

from __future__ import annotations

import asyncio
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
