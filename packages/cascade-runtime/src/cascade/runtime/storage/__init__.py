"""Where values are kept: caches in memory, in a file, and by the existence of files."""

from cascade.runtime.storage.cache import cache_key
from cascade.runtime.storage.calls import Answer, CachedCalls
from cascade.runtime.storage.memory import MemoryCache
from cascade.runtime.storage.sqlite import SqliteCache

__all__ = ["Answer", "CachedCalls", "MemoryCache", "SqliteCache", "cache_key"]
