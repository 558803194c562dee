"""Wait for a condition, with a deadline: what a test does instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_SHORTEST, _LONGEST = 0.001, 0.01
"""Seconds between two looks at a condition: a tenth of the time that it has been waited for, within these bounds."""


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], timeout: float = 10.0, *, what: str = ""
) -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout: float = 10.0, *, what: str = "") -> T: ...
async def eventually(condition: Callable[[], Any], timeout: float = 10.0, *, what: str = "") -> Any:
    """Call ``condition`` again and again until it is true; return what it then returned.

    :param timeout: seconds of the loop's clock; generous, because it costs nothing while all is well.
    :param what: what is waited for, for the error's text.
    :raises AssertionError: if it is still false when the time is over; its text tells the last value.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        made = condition()
        value = await made if inspect.isawaitable(made) else made
        if value:
            return value
        waited = clock() - began
        if waited > timeout:
            raise AssertionError(
                f"not within {timeout:g} s: {what or _text_of(condition)}; last value: {value!r}"
            )
        await asyncio.sleep(min(max(waited / 10, _SHORTEST), _LONGEST))


def _text_of(condition: Callable[[], object]) -> str:
    try:
        return " ".join(inspect.getsource(condition).split())
    except (OSError, TypeError):
        return repr(condition)
