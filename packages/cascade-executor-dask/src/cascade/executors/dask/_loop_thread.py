"""An event loop in a thread of its own: it outlives the caller's loop and is not blocked by it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

from cascade.interfaces.mailbox import Mailbox

ResourceT = TypeVar("ResourceT")
R = TypeVar("R")


class LoopThread(Generic[ResourceT]):
    """A daemon thread with an event loop that keeps an async context open until :meth:`close`.

    Callers run functions on the value of that context, in the thread.
    """

    def __init__(
        self, open_context: Callable[[], AbstractAsyncContextManager[ResourceT]], *, name: str
    ) -> None:
        self._open_context = open_context
        self._entered: concurrent.futures.Future[tuple[Mailbox, ResourceT]] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._closing = asyncio.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def call(self, function: Callable[[ResourceT], Coroutine[Any, Any, R]]) -> R:
        """Run a coroutine function in that thread; cancelling this call cancels it there."""
        await self.opened()
        loop = self._loop
        _, resource = self._entered.result()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(function(resource), loop))

    async def opened(self) -> None:
        """Wait until the context is open; from then on :meth:`post` has an effect."""
        if not self._entered.done():
            await asyncio.shield(asyncio.wrap_future(self._entered))

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Call ``function(resource, *args)`` in that thread soon; do nothing if it is not open."""
        if self._entered.done():
            mailbox, resource = self._entered.result()
            mailbox.post(function, resource, *args)

    async def close(self) -> None:
        """Close the context and wait until the thread has ended, which it does even if this is cancelled."""
        self._request_close()
        await asyncio.shield(asyncio.wrap_future(self._ended))

    def close_at_exit(self, timeout: float) -> None:
        """Close the context and wait up to ``timeout`` seconds; for a thread without an event loop."""
        self._request_close()
        concurrent.futures.wait([self._ended], timeout)

    def _request_close(self) -> None:
        # If the context is still opening, close it as soon as it is open.
        self._entered.add_done_callback(lambda _: self.post(lambda _: self._closing.set()))

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        finally:
            self._ended.set_result(None)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self._open_context() as resource:
            self._entered.set_result((Mailbox(self._loop), resource))
            await self._closing.wait()
