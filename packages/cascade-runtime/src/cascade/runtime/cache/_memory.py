"""A cache in this process's memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from cascade.interfaces import Clock, ConfigurationError, Hit
from cascade.interfaces.call_errors import explains_calls
from cascade.runtime._support.clock import SystemClock


class MemoryCache:
    """A :class:`cascade.interfaces.CacheBackend` that stores the objects themselves.

    It does not copy: code that changes a value taken from the cache changes it for every reader.
    With more than ``max_entries`` values it drops the least recently used one.

    :raises ConfigurationError: if ``max_entries`` is not a whole number from 1.
    """

    @explains_calls
    def __init__(self, max_entries: int = 4096, *, clock: Clock | None = None) -> None:
        if isinstance(max_entries, bool) or not isinstance(max_entries, int) or max_entries < 1:
            raise ConfigurationError(
                "MemoryCache(max_entries=)", f"needs a whole number from 1, not {max_entries!r}"
            )
        self._max_entries = max_entries
        self._clock: Clock = clock or SystemClock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def get(self, key: str) -> Hit | None:
        """Return the value stored under ``key``, or None if there is none or it has expired."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        age = self._clock.monotonic() - entry.stored
        if entry.ttl is not None and age >= entry.ttl:
            return None
        # now the most recently used, so the last one to be dropped
        self._entries[key] = entry
        return Hit(entry.value, age)

    async def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Store ``value``, for at most ``ttl`` seconds."""
        self._entries.pop(key, None)
        self._entries[key] = _Entry(value, self._clock.monotonic(), ttl)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    async def close(self) -> None:
        """Do nothing: there is nothing to free, and the values stay."""

    def clear(self) -> None:
        """Remove every value."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<MemoryCache with {len(self)} of at most {self._max_entries} entries>"


class _Entry(NamedTuple):
    value: Any
    stored: float
    """Monotonic seconds."""
    ttl: float | None
