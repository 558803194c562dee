"""Values kept in an SQLite file, for the next process."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

from cascade.interfaces import Clock, ConfigurationError, Hit
from cascade.runtime._clock import SystemClock
from cascade.runtime.storage._health import Health
from cascade.runtime.storage._sqlite_worker import Get, Put, Request, Settings, Stop, Worker

_log = logging.getLogger("cascade.cache")


class SqliteCache:
    """A :class:`cascade.interfaces.CacheBackend` in the file ``path``, made on first use.

    Several processes may use one file at the same time, on one machine. What ``put`` has
    returned from survives the process, however it ends. Values are written as JSON where that
    is faithful, otherwise pickled; each is signed with a key that lies beside the file
    (``path`` and ".key", mode 0600), and nothing is loaded whose signature is wrong.

    When the file has grown to ``max_bytes``, values that were used longest ago go; a value of
    more than ``max_value_bytes`` is not kept. A file that is damaged, full, read-only or not
    ours is left as it is: one warning, and tasks run as without a cache; with ``required=True``
    ``CacheUnavailable`` is raised instead.

    :raises ConfigurationError: if a limit is not a whole number from 1.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 1 << 30,
        max_value_bytes: int = 64 << 20,
        required: bool = False,
        clock: Clock | None = None,
    ) -> None:
        for setting, value in (("max_bytes", max_bytes), ("max_value_bytes", max_value_bytes)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(
                    f"SqliteCache({setting}=)", f"needs a whole number of bytes from 1, not {value!r}"
                )
        place = Path(path).absolute()  # a later change of folder must not move it
        self._settings = Settings(place, max_bytes, max_value_bytes, required)
        self._clock: Clock = clock or SystemClock()
        self._health = Health(_log, repr(self))
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._worker: Worker | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self._settings.path

    async def get(self, key: str) -> Hit | None:
        """Return what is kept under ``key``, or None.

        :raises CacheUnavailable: if the cache is required and the file cannot be used.
        """
        found: Hit | None = await self._ask(Get(key))
        return found

    async def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Keep ``value`` as it is now; many that come at the same time share one commit.

        :raises UnstorableValueError: if it cannot be pickled, or is too large.
        :raises CacheUnavailable: if the cache is required and the file cannot be used.
        """
        await self._ask(Put(key, value=value, ttl=ttl))

    async def close(self) -> None:
        """Serve what waits, close the file and end the thread; the next use opens it again."""
        self._check_process()
        stop = Stop("")
        with self._lock:
            worker, self._worker = self._worker, None
            if worker is not None:
                worker.ask(stop)
        if worker is not None:
            await stop.answer

    async def _ask(self, request: Request) -> Any:
        self._check_process()
        with self._lock:  # a close in another thread must not come between
            if self._worker is None:
                self._worker = Worker(self._settings, clock=self._clock, health=self._health)
            self._worker.ask(request)
        return await request.answer

    def _check_process(self) -> None:
        """Leave thread and connection to the parent if this is a forked child."""
        if self._process != os.getpid():
            self._process, self._lock, self._worker = os.getpid(), threading.Lock(), None

    def __repr__(self) -> str:
        return f"<SqliteCache {self._settings.path}>"
