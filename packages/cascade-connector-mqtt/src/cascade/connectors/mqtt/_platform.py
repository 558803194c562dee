"""What the operating system and the event loop mean for a connector: forks, and sockets that cannot be watched."""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import Protocol

NO_SOCKETS = (
    "this event loop cannot watch sockets, which MQTT needs; on Windows use a selector loop, as cs.run does: "
    "asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)"
)


class Forkable(Protocol):
    """Something that a forked child must not go on using."""

    def become_inert(self) -> None:
        """Do nothing from here on; called in the child."""
        ...


_alive: weakref.WeakSet[Forkable] = weakref.WeakSet()


def watches_sockets(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether a loop has ``add_reader``; Windows' Proactor loop has not."""
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader


def silence_in_children(thing: Forkable) -> None:
    """Let ``thing`` become inert in every child that is forked from now on."""
    _alive.add(thing)


def _after_fork() -> None:
    for thing in [*_alive]:
        thing.become_inert()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
