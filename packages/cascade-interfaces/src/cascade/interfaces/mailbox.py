"""Runs functions on an event loop from another thread, many of them for one wake-up of the loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any


class Mailbox:
    """Functions that other threads want to be called on an event loop, in their order.

    A wake-up of a loop by another thread costs much more than the functions do. So only the first
    one that is posted wakes the loop; those that follow before it has woken are called with it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._posted: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._woken = False

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the loop soon; from any thread. If the loop is closed, do nothing."""
        self._posted.append((function, args))
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._call_all)

    def _call_all(self) -> None:
        # first: what is posted from here on wakes the loop again
        self._woken = False
        while self._posted:
            function, args = self._posted.popleft()
            try:
                function(*args)
            except Exception as exc:
                # as for any callback of a loop: the others are called all the same
                context = {"message": f"Exception in {function!r}", "exception": exc}
                self.loop.call_exception_handler(context)
