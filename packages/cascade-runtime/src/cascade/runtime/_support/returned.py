"""See whether what a task returned holds calls that have to run first."""

from __future__ import annotations

import asyncio
from typing import Any

from cascade.spec import Walk, collected, may_hold_lazies


async def with_calls(value: Any) -> Any:
    """Return ``value``, or a lazy result for it if it is a container that holds lazy results.

    Looks into large values in steps, so that the loop runs other callbacks in between.

    :raises UsageError: if a lazy result stands where no value can take its place.
    """
    if not may_hold_lazies(value):
        return value
    walk = Walk([value])
    for _ in walk.steps():
        await asyncio.sleep(0)
    return collected(value) if walk.found else value
