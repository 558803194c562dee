"""Send what a network's store keeps until the store has it: one that does not answer for a while refuses nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVarTuple

from cascade.transport.faults import MessageRejected

AGAIN = 0.1
"""Seconds after which a message is sent again to a store that did not answer."""


Message = TypeVarTuple("Message")


class StoreSender(Generic[*Message]):
    """Sends messages to the store of one link, each again until the store has it.

    For a network whose store can be absent while the connection is up. It is made with the link, and ends with it.

    :param timeout: seconds for which the first answer of the store is waited for, and for which the store may be absent.
    :param once: sends a message once, also to those who listen, and returns when the store has it.
    :param is_absent: returns whether an error means that the store is not there now; any other one is a refusal.
    :param find_store: called before a message is sent again: it may make the store anew, and raises ``LinkLost`` if the next
        link has to send the message.
    """

    def __init__(
        self,
        timeout: float,
        *,
        once: Callable[[*Message], Awaitable[object]],
        is_absent: Callable[[BaseException | None], bool],
        find_store: Callable[[*Message], Awaitable[object]],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._once = once
        self._is_absent = is_absent
        self._find_store = find_store
        # not set while one message finds the store
        self._there = asyncio.Event()
        self._there.set()
        self._known_by = self._loop.time() + timeout
        # on the loop's clock; infinity: the store has taken the latest message
        self._absent_until = math.inf
        self.known: asyncio.Future[None] = self._loop.create_future()
        """Done when it is known for the first time what the store can do; the code that opens the store sets it."""

    async def send(self, *message: *Message) -> None:
        """Send a message until the store has it.

        :raises LinkLost: if the next link has to send the message.
        :raises MessageRejected: if the store refuses the message, or was absent for all this time.
        """
        while True:
            if not self._there.is_set():
                await self._there.wait()
            try:
                await self._once(*message)
            except MessageRejected as exc:
                if not self._is_absent(exc) or self._is_given_up():
                    raise
            else:
                self._absent_until = math.inf
                return
            if self._there.is_set():
                await self._find_again(*message)

    async def is_taken_early(self, *message: *Message) -> bool:
        """Send a message before the store is known; return whether the store has it.

        Return False when the store is known, or at the end of the timeout.

        :raises MessageRejected: if the store refuses the message.
        """
        asked = asyncio.ensure_future(self._once(*message))
        try:
            first: set[asyncio.Future[Any]] = {asked, self.known}
            await asyncio.wait(first, timeout=self.time_left(), return_when=asyncio.FIRST_COMPLETED)
            if asked.done() and not self._is_absent(asked.exception()):
                asked.result()
                return True
            await asyncio.wait({self.known}, timeout=self.time_left())
            return False
        finally:
            asked.cancel()

    def time_left(self) -> float:
        """Return the seconds for which the first answer of the store is still waited for."""
        return max(0.0, self._known_by - self._loop.time())

    async def _find_again(self, *message: *Message) -> None:
        """Find the store; all other messages wait, so that none is overtaken by a later one of its topic."""
        self._there.clear()
        try:
            await self._find_store(*message)
            await asyncio.sleep(AGAIN)
        finally:
            self._there.set()

    def _is_given_up(self) -> bool:
        now = self._loop.time()
        self._absent_until = min(self._absent_until, now + self._timeout)
        return now >= self._absent_until
