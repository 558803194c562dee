"""An event loop in a thread of its own, for what must outlive the caller's loop and not be slowed by it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

InsideT = TypeVar("InsideT")
R = TypeVar("R")


class Portal(Generic[InsideT]):
    """A daemon thread that enters ``inside``, keeps its loop turning, and leaves it when it is closed."""

    def __init__(self, inside: Callable[[], AbstractAsyncContextManager[InsideT]], *, name: str) -> None:
        self._inside = inside
        self._entered: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, InsideT]]
        self._entered = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._closing = asyncio.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def call(self, action: Callable[[InsideT], Coroutine[Any, Any, R]]) -> R:
        """Do something there; when the one who awaits it is cancelled, so is what is done there."""
        loop, inside = await asyncio.shield(asyncio.wrap_future(self._entered))
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(action(inside), loop))

    def post(self, action: Callable[[InsideT], object]) -> None:
        """Do something there, soon, before what is called after this; nothing if it is closed."""
        if not self._entered.done():
            return
        loop, inside = self._entered.result()
        with contextlib.suppress(RuntimeError):  # its loop is closed
            loop.call_soon_threadsafe(action, inside)

    async def close(self) -> None:
        """Leave, and wait until the thread has ended; it ends also if this is cancelled."""
        self._close()
        await asyncio.shield(asyncio.wrap_future(self._ended))

    def close_at_exit(self, timeout: float) -> None:
        """Leave, and wait for it up to ``timeout`` seconds, from a thread that has no loop."""
        self._close()
        concurrent.futures.wait([self._ended], timeout)

    def _close(self) -> None:
        self._entered.add_done_callback(lambda _: self.post(lambda _: self._closing.set()))

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        finally:
            self._ended.set_result(None)

    async def _live(self) -> None:
        async with self._inside() as inside:
            self._entered.set_result((asyncio.get_running_loop(), inside))
            await self._closing.wait()
