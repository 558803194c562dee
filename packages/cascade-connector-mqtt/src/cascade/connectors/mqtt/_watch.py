"""The stream that ``watch`` returns."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

from cascade.connectors.mqtt._listeners import WatchListener
from cascade.interfaces.stream import WatchItem


class MqttWatch(AsyncIterator[WatchItem]):
    """What arrives for a listener, until it is closed. Listening has begun when it is made.

    :param close: unsubscribes.
    :param let_go: unsubscribes, without being awaited, a stream that was thrown away unclosed.
    """

    def __init__(
        self,
        listener: WatchListener,
        *,
        close: Callable[[WatchListener], Awaitable[None]],
        let_go: Callable[[WatchListener], None],
    ) -> None:
        self._listener = listener
        self._close = close
        self._thrown_away = weakref.finalize(self, let_go, listener)
        self._thrown_away.atexit = False

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> WatchItem:
        """Wait for the next item; the stream is over when it has been closed."""
        item = await self._listener.next()
        if item is None:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Unsubscribe and end the stream. Twice is harmless."""
        if self._thrown_away.detach() is not None:
            self._listener.end()
            await self._close(self._listener)
