"""Values that several users share: one use count for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Values by key, each made for its first user and handed back after its last.

    Users that pass the same objects as a key share one value. Key objects are compared by
    identity: a connector can be of any class, also of one that is not hashable.

    Not thread-safe: users in several threads need a lock around each call.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[int, ...], _Entry[T]] = {}

    def join(self, *key: object, make: Callable[[], T]) -> T:
        """Add a user and return the shared value; the first user makes it."""
        identity = tuple(map(id, key))
        entry = self._entries.get(identity)
        if entry is None:
            entry = self._entries[identity] = _Entry(key, make())
        entry.users += 1
        return entry.value

    def leave(self, *key: object) -> T | None:
        """Remove a user; after the last one, forget the value and return it: the caller closes it."""
        identity = tuple(map(id, key))
        entry = self._entries[identity]
        entry.users -= 1
        if entry.users:
            return None
        del self._entries[identity]
        return entry.value

    def get(self, *key: object) -> T | None:
        """Return the shared value, or None if it has no user."""
        entry = self._entries.get(tuple(map(id, key)))
        return entry.value if entry is not None else None

    def values(self) -> list[T]:
        """Return every value that has a user."""
        return [entry.value for entry in self._entries.values()]


class _Entry(Generic[T]):
    __slots__ = ("key", "users", "value")

    def __init__(self, key: tuple[object, ...], value: T) -> None:
        # keeps the objects alive, so that their identities stay unique
        self.key = key
        self.value = value
        self.users = 0
