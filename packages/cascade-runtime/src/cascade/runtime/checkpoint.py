"""``checkpoint``: where a long task tells how far it is, and listens to pause and cancel."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any, Protocol

from cascade.runtime.graph import Node

PROGRESS_INTERVAL = 0.5
"""Seconds between two reports of progress of one task, at the least."""


class Station(Protocol):
    """The run that a task belongs to, as its checkpoints see it. ``hold`` is called on the loop."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The run's loop."""
        ...

    def progress(self, node: Node, done: float, total: float | None) -> None:
        """Tell how far a task is; from any thread."""
        ...

    def passes(self, node: Node) -> bool:
        """Return whether the task may go on now; from any thread.

        :raises asyncio.CancelledError: if it is to stop.
        """
        ...

    async def hold(self, node: Node) -> None:
        """Wait until the task may go on.

        :raises asyncio.CancelledError: if it is to stop.
        """
        ...


current: ContextVar[tuple[Station, Node] | None] = ContextVar("cascade task", default=None)


class Checkpoint:
    """What :func:`checkpoint` returns: await it in an async task; a sync one has waited already."""

    __slots__ = ("_place",)

    def __init__(self, place: tuple[Station, Node] | None) -> None:
        self._place = place

    def __await__(self) -> Generator[Any, None, None]:
        if self._place is not None:
            station, node = self._place
            if not station.passes(node):
                yield from station.hold(node).__await__()


def checkpoint(*, done: float | None = None, total: float | None = None) -> Checkpoint:
    """Tell how far this task is, and obey pause and cancel: here a long task can be held or stopped.

    Write ``cs.checkpoint(done=n, total=m)`` in a plain function and ``await cs.checkpoint(...)``
    in an async one. Progress leaves at most twice a second. Outside of a task, and in another
    process than the engine's, it does nothing.

    :raises asyncio.CancelledError: if the task or its run was cancelled.
    """
    place = current.get()
    if place is None:
        return _NOWHERE
    station, node = place
    if done is not None:
        station.progress(node, done, total)
    if _on_loop(station.loop):
        return Checkpoint(place)
    if not station.passes(node):
        _wait_in_thread(station, node)
    return _NOWHERE


def _on_loop(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _wait_in_thread(station: Station, node: Node) -> None:
    """Block this thread until the loop lets the task go on."""
    ended = threading.Event()
    outcome: list[BaseException | None] = []

    async def hold() -> None:
        try:
            await station.hold(node)
            outcome.append(None)
        except (asyncio.CancelledError, Exception) as exc:
            outcome.append(exc)
        finally:
            ended.set()

    asyncio.run_coroutine_threadsafe(hold(), station.loop)
    ended.wait()
    if outcome and outcome[0] is not None:
        raise outcome[0]


_NOWHERE = Checkpoint(None)
