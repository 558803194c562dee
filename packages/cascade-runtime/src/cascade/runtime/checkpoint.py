"""``checkpoint``: where a long task tells how far it is, and listens to pause and cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, Protocol

from cascade.runtime.node import Node

PROGRESS_INTERVAL = 0.5
"""Seconds between two reports of progress of one task, at the least."""


class Station(Protocol):
    """The run that a task belongs to, as its checkpoints see it. To be held is asked for on the loop."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The run's loop."""
        ...

    def progress(self, node: Node, attempt: int, done: float, total: float | None) -> None:
        """Tell how far a task is; from any thread."""
        ...

    def passes(self, node: Node, attempt: int) -> bool:
        """Return whether the task may go on now; from any thread.

        :raises asyncio.CancelledError: if it is to stop.
        """
        ...

    async def hold(self, node: Node, attempt: int) -> None:
        """Wait until the task may go on.

        :raises asyncio.CancelledError: if it is to stop.
        """
        ...

    def hold_thread(self, node: Node, attempt: int, verdict: Future[None]) -> None:
        """Do so for a thread: what comes of it becomes the verdict that the thread waits for."""
        ...


Place = tuple[Station, Node, int]
"""Where a checkpoint is: in which attempt of which task of which run."""

current: ContextVar[Place | None] = ContextVar("cascade task", default=None)


class Checkpoint:
    """What :func:`checkpoint` returns: await it in an async task; a sync one has waited already."""

    __slots__ = ("_place",)

    def __init__(self, place: Place | None) -> None:
        self._place = place

    def __await__(self) -> Generator[Any, None, None]:
        if self._place is not None:
            station, node, attempt = self._place
            if not station.passes(node, attempt):
                yield from station.hold(node, attempt).__await__()


def checkpoint(*, done: float | None = None, total: float | None = None) -> Checkpoint:
    """Tell how far this task is, and obey pause and cancel: here a long task can be held or stopped.

    Write ``cs.checkpoint(done=n, total=m)`` in a plain function and ``await cs.checkpoint(...)``
    in an async one; without the ``await``, and in a task that runs ``inline``, it tells and holds
    nothing. Progress leaves at most twice a second. Outside of a task, and in another process
    than the engine's, it does nothing.

    :raises asyncio.CancelledError: if the task or its run was cancelled, or this attempt of it has ended
        (a thread outlives the time limit of its task).
    """
    place = current.get()
    if place is None:
        return _NOWHERE
    station, node, attempt = place
    if done is not None:
        station.progress(node, attempt, done, total)
    if on_loop(station.loop):
        return Checkpoint(place)
    if not station.passes(node, attempt):
        _wait_in_thread(station, node, attempt)
    return _NOWHERE


def on_loop(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether this is the thread in which a loop runs."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _wait_in_thread(station: Station, node: Node, attempt: int) -> None:
    """Block this thread until the loop lets the task go on."""
    verdict: Future[None] = Future()
    try:
        station.loop.call_soon_threadsafe(station.hold_thread, node, attempt, verdict)
    except RuntimeError:  # the loop is closed, and nobody is left to let it go on
        raise asyncio.CancelledError from None
    verdict.result()


_NOWHERE = Checkpoint(None)
