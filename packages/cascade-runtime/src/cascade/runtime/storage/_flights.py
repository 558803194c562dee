"""Equal calls at the same time: one of them computes, the others wait for what it finds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

FoundT = TypeVar("FoundT")


class Flights(Generic[FoundT]):
    """Calls that are under way, by what they have in common; who waits for one costs a future."""

    def __init__(self) -> None:
        self._followers: dict[object, deque[asyncio.Future[FoundT | None]]] = {}

    def __len__(self) -> int:
        return len(self._followers)

    async def join(self, key: object, find: Callable[[], Awaitable[FoundT]]) -> tuple[FoundT, bool]:
        """Return what an equal call finds, else what ``find()`` does, and whether it was another's.

        The first one finds. When it fails or is cancelled, the one that has waited longest
        takes over, so that each fails only by its own doing.

        :raises Exception: what our own ``find()`` raises.
        """
        shared = await self._follow(key)
        if shared is not None:
            return shared, True
        found: FoundT | None = None
        try:
            found = await find()
            return found, False
        finally:
            self._land(key, found)

    async def _follow(self, key: object) -> FoundT | None:
        """Return what the one that finds has found, or None if that one is now us."""
        followers = self._followers.get(key)
        if followers is None:
            self._followers[key] = deque()
            return None
        turn: asyncio.Future[FoundT | None] = asyncio.get_running_loop().create_future()
        followers.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result() is None:  # it was our turn, and it is the next one's
                self._land(key, None)
            raise

    def _land(self, key: object, found: FoundT | None) -> None:
        followers = self._followers[key]
        while followers:
            turn = followers.popleft()
            if not turn.done():
                turn.set_result(found)
                if found is None:
                    return
        del self._followers[key]
