"""The event loop and the process of a connector: abilities, a limit for one kind of work, an event, forked children."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import weakref
from typing import Protocol

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


LOOP_BUDGET = 0.005
"""Seconds for which one kind of work may keep the event loop before it yields."""


class LoopBudget:
    """The time that one kind of work may take in one iteration of an event loop; ``limit`` is in seconds."""

    __slots__ = ("_limit", "_loop", "_started")

    def __init__(self, limit: float | None = None) -> None:
        self._limit = LOOP_BUDGET if limit is None else limit
        self._loop = asyncio.get_running_loop()
        self._started: float | None = None

    def spent(self) -> bool:
        """Return whether the time since the first call in this iteration exceeds the limit: then yield."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
            self._loop.call_soon(self._renew)
            return False
        return now - self._started > self._limit

    def _renew(self) -> None:
        self._started = None


class Forkable(Protocol):
    """Something that a forked child must not use."""

    def become_inert(self) -> None:
        """Do nothing from here on; called in the child."""
        ...


_alive: weakref.WeakSet[Forkable] = weakref.WeakSet()


def inert_in_children(thing: Forkable) -> None:
    """Call ``thing.become_inert()`` in every child that is forked from now on."""
    _alive.add(thing)


def close_copy(sock: object) -> None:
    """Close a forked process's copy of a socket; the parent's stays open. Do nothing with what is not an open socket."""
    inner = getattr(sock, "_sock", sock)  # asyncio hides it
    if isinstance(inner, socket.socket) and inner.fileno() >= 0:
        os.close(inner.detach())


def _after_fork() -> None:
    for thing in [*_alive]:
        thing.become_inert()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
