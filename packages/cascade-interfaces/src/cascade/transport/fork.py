"""Forked processes: a child must not use its copy of a connector."""

from __future__ import annotations

import os
import socket
import weakref
from typing import Protocol


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
