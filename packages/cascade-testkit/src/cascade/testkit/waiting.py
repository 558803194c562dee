"""Wait for a condition, with a deadline: what a test does instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], timeout: float = 10.0, *, what: str = ""
) -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout: float = 10.0, *, what: str = "") -> T: ...
async def eventually(condition: Callable[[], Any], timeout: float = 10.0, *, what: str = "") -> Any:
    """Call ``condition`` again and again until it is true; return what it then returned.

    :param timeout: seconds; generous, because it costs nothing while all is well.
    :param what: what is waited for, for the error's text.
    :raises AssertionError: if it is still false when the time is over; its text tells the last value.
    """
    deadline = time.monotonic() + timeout
    while True:
        made = condition()
        value = await made if inspect.isawaitable(made) else made
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {timeout:g} s: {what or _text_of(condition)}; last value: {value!r}"
            )
        await asyncio.sleep(0.005)


def _text_of(condition: Callable[[], object]) -> str:
    try:
        return " ".join(inspect.getsource(condition).split())
    except (OSError, TypeError):
        return repr(condition)
