"""Caches for the values of tasks: :class:`MemoryCache`, :class:`SqliteCache` and their :func:`cache_key`."""

from cascade.runtime.cache._key import cache_key
from cascade.runtime.cache._memory import MemoryCache
from cascade.runtime.cache._sqlite import SqliteCache, has_wal_reset_bug

__all__ = ["MemoryCache", "SqliteCache", "cache_key", "has_wal_reset_bug"]
