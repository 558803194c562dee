"""A cache in an SQLite file, which the next process can use."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

from cascade.interfaces import Clock, ConfigurationError, Hit
from cascade.interfaces.call_errors import explains_calls
from cascade.interfaces.logs import get_logger
from cascade.runtime._storage.group_commit import GroupCommit, Request
from cascade.runtime._support.clock import SystemClock
from cascade.runtime.cache._sqlite_thread import CacheStore, Get, Put, SqliteSettings
from cascade.transport.state_log import StateLog

_log = get_logger("cascade.cache")


class SqliteCache:
    """A :class:`cascade.interfaces.CacheBackend` in the file ``path``, created on first use.

    Several processes on one machine may use one file at the same time. A value is safe once
    ``put`` has returned, however the process ends. Values are written as JSON where that is
    exact, otherwise pickled. Each is signed with a key beside the file (``path`` + ".key", mode
    0600); a value with a wrong signature is not loaded.

    When the file exceeds ``max_bytes``, the least recently used values are deleted. A value of
    more than ``max_value_bytes`` is not stored. A file that is damaged, full, read-only or of
    another program is not changed: one warning is logged, and tasks run without the cache. With
    ``required=True``, ``CacheUnavailable`` is raised instead.

    :raises ConfigurationError: if a limit is not a whole number from 1.
    """

    @explains_calls
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 1 << 30,
        max_value_bytes: int = 64 << 20,
        required: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise ConfigurationError("SqliteCache(path)", "needs a file, such as 'cache.db'", value=path)
        for setting, value in (("max_bytes", max_bytes), ("max_value_bytes", max_value_bytes)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(
                    f"SqliteCache({setting}=)", f"needs a whole number of bytes from 1, not {value!r}"
                )
        # Absolute: a later change of the working directory must not lead to another file.
        self._settings = SqliteSettings(Path(path).absolute(), max_bytes, max_value_bytes, required)
        self._clock: Clock = clock or SystemClock()
        self._state_log = StateLog(_log)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._thread: GroupCommit[Request] | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self._settings.path

    async def get(self, key: str) -> Hit | None:
        """Return the value stored under ``key``, or None if there is none or it has expired.

        :raises CacheUnavailable: if the cache is required and the file cannot be used.
        """
        hit: Hit | None = await self._submit(Get(key))
        return hit

    async def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Store ``value``; calls at the same time share one commit.

        Do not change the value until this returns: it is written in another thread.

        :raises UnstorableValueError: if the value cannot be pickled or is too large.
        :raises CacheUnavailable: if the cache is required and the file cannot be used.
        """
        await self._submit(Put(key, value, ttl))

    async def close(self) -> None:
        """Serve the waiting requests, close the file and end the thread; the next use opens it again."""
        self._forget_parent()
        with self._lock:
            thread, self._thread = self._thread, None
            stopped = None if thread is None else thread.stop()
        if stopped is not None:
            await stopped

    async def _submit(self, request: Request) -> Any:
        self._forget_parent()
        # otherwise a close in another thread could stop it before this request
        with self._lock:
            if self._thread is None:
                self._thread = self._new_thread()
            answer = self._thread.call(request)
        return await answer

    def _new_thread(self) -> GroupCommit[Request]:
        store = CacheStore(self._settings, name=repr(self), clock=self._clock, state_log=self._state_log)
        return GroupCommit(store, name=f"cascade cache {self.path.name}")

    def _forget_parent(self) -> None:
        """In a forked child: forget the parent's thread and connection, which do not work here."""
        if self._pid != os.getpid():
            self._pid, self._lock, self._thread = os.getpid(), threading.Lock(), None

    def __repr__(self) -> str:
        return f"<SqliteCache {self._settings.path}>"


def has_wal_reset_bug(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Return whether a version of SQLite can lose rows that several processes write, or damage their file.

    When two connections write and checkpoint one file in WAL mode at the same moment, a commit
    may be lost. Versions 3.7.0 to 3.51.2 have this fault, except 3.44.6 and 3.50.7 and what
    follows them in these two series. A cache file that one process at a time uses is safe. In a
    cache, a lost value is computed again, and a damaged file is reported and no longer used.

    Source: section "The WAL-Reset Bug" of https://sqlite.org/wal.html.
    """
    fixed_in = {(3, 44): (3, 44, 6), (3, 50): (3, 50, 7)}
    return (3, 7, 0) <= version < fixed_in.get((version[0], version[1]), (3, 51, 3))
