"""Where values of cached tasks are kept. A docstring here is the contract of its method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Hit:
    """A value that was found; a value of None is a hit like any other."""

    value: Any
    age: float
    """Seconds since it was stored."""


class CacheBackend(Protocol):
    """Keeps values under keys, for as long as it can.

    Keys are short strings in which task, code and arguments are already told apart; a backend
    does nothing but compare them. Methods may be called from several event loops, one after
    the other and at the same time.

    A backend meets the faults of the outside world (no space, no file, no network) by itself,
    with one warning for each change of state: ``get`` then finds nothing, ``put`` keeps nothing.
    Only one that was made to require its store raises ``CacheUnavailable``, which fails the task.
    Whatever else it raises is reported and taken for "nothing found".
    """

    async def get(self, key: str) -> Hit | None:
        """Return what is kept under ``key``, or None if nothing is, or it has expired."""
        ...

    async def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Keep ``value`` in place of what was there, for ``ttl`` seconds or until room is needed.

        When this returns, the value as it then was is kept, or it never will be.

        :raises UnstorableValueError: if no value like this one can be kept.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way, free threads, files and connections; the values stay.

        Called at the end of every run that used the backend. The next ``get`` or ``put`` opens
        again what it needs. Twice is harmless.
        """
        ...
