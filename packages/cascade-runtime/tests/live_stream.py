"""A stream of constraints whose items a test gives."""

from __future__ import annotations

import asyncio

from cascade.interfaces import WatchItem


class Live:
    """A stream whose items the test gives, and which can be extended unless it has a fault."""

    def __init__(self, filters: tuple[str, ...]) -> None:
        self.filters = filters
        self.changes: list[tuple[str, tuple[str, ...]]] = []
        self.items: asyncio.Queue[WatchItem | Exception | None] = asyncio.Queue()
        self.fault: Exception | None = None
        self.is_closed = False
        self._reads = False

    @property
    def waits(self) -> bool:
        """Whether everything that was given is handled: the reader waits for more."""
        return self._reads and self.items.empty()

    def extend(self, *filters: str) -> None:
        self._change("extend", filters)

    def shrink(self, *filters: str) -> None:
        self._change("shrink", filters)

    def _change(self, kind: str, filters: tuple[str, ...]) -> None:
        if self.fault is not None:
            raise self.fault
        self.changes.append((kind, filters))

    def __aiter__(self) -> Live:
        return self

    async def __anext__(self) -> WatchItem:
        self._reads = True
        item = await self.items.get()
        self._reads = False
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, Exception):
            raise item
        return item

    async def aclose(self) -> None:
        self.is_closed = True
