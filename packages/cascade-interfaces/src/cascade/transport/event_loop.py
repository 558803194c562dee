"""Abilities of an event loop, and an event that belongs to no loop."""

from __future__ import annotations

import asyncio

from cascade.interfaces.errors import WrongThreadError

NO_SOCKETS = (
    "this event loop cannot watch sockets, which the connector needs; on Windows use a selector loop, as cs.run "
    "does: asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)"
)


def watches_sockets(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether a loop has ``add_reader``; Windows' Proactor loop has not."""
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader


def check_loop(operation: str, owner: asyncio.AbstractEventLoop) -> None:
    """Check that the caller runs on the loop ``owner``.

    :param operation: what was called, for the message.
    :raises WrongThreadError: naming both loops if the caller runs on another one.
    """
    running = asyncio._get_running_loop()
    if running is owner:
        return
    loops = None if running is None else (_in_words(running), _in_words(owner))
    raise WrongThreadError(operation, loops=loops)


def _in_words(loop: asyncio.AbstractEventLoop) -> str:
    state = "running" if loop.is_running() else "not running"
    return f"{type(loop).__name__} at {id(loop):#x} ({state})"


class AutoResetEvent:
    """An event for one waiter that resets itself when the waiter continues.

    If it is set while no task waits, the next ``wait`` returns at once. It is bound to no loop
    until a task waits.
    """

    __slots__ = ("_set", "_waiter")

    def __init__(self) -> None:
        self._set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake the waiter; on its loop only."""
        self._set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until the event is set, and reset it."""
        if not self._set:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._set = False

    async def wait_until(self, when: float | None) -> bool:
        """Do what ``wait`` does, until ``when`` on the loop's clock (None: for ever); return whether the event was set."""
        try:
            async with asyncio.timeout_at(when):
                await self.wait()
        except TimeoutError:
            return False
        return True
