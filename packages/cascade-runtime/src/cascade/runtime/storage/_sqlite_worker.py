"""The thread of one SQLite cache: it serves all that waits in one go, so that many share a commit."""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cascade.interfaces import CacheUnavailable, Clock, Hit, UnstorableValueError
from cascade.runtime.storage._codec import Codec, ForeignRowError, Row
from cascade.runtime.storage._health import Health
from cascade.runtime.storage._secret import load_secret
from cascade.runtime.storage._sqlite_file import NotOurFileError, SqliteFile

MOST_AT_ONCE = 1000
"""Requests that one commit serves at most, so that the first of them need not wait long."""
REOPEN_AFTER = 5.0
"""Seconds before a file that could not be used is tried again."""

_USE = "use its file"
_FAULTS = (sqlite3.Error, OSError, NotOurFileError)
RequestT = TypeVar("RequestT", bound="Request")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a cache was made with."""

    path: Path
    max_bytes: int
    max_value_bytes: int
    required: bool

    def open(self) -> tuple[SqliteFile, Codec]:
        """Open the file and read the key beside it.

        :raises Exception: what SQLite and the file system raise.
        """
        file = SqliteFile(self.path, max_bytes=self.max_bytes)
        try:
            return file, Codec(load_secret(self.path.with_name(f"{self.path.name}.key")))
        except BaseException:
            file.close()
            raise


@dataclass(slots=True, eq=False)
class Request:
    """Something that was asked of the cache, and where the answer is awaited."""

    key: str
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    answer: asyncio.Future[Any] = field(init=False)
    outcome: Any = None
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.answer = self.loop.create_future()

    def settle(self) -> None:
        """Hand the outcome over, on the loop, unless nobody waits any more."""
        if self.answer.done():
            return
        if self.error is None:
            self.answer.set_result(self.outcome)
        else:
            self.answer.set_exception(self.error)


@dataclass(slots=True, eq=False)
class Get(Request):
    """Look a key up; the outcome is a Hit or None."""


@dataclass(slots=True, eq=False)
class Put(Request):
    """Keep a value."""

    value: Any = None
    ttl: float | None = None


@dataclass(slots=True, eq=False)
class Stop(Request):
    """Close the file and end the thread."""


class Worker:
    """A daemon thread that has the file open until it is stopped; ``health`` outlives it."""

    def __init__(self, settings: Settings, *, clock: Clock, health: Health) -> None:
        self._settings = settings
        self._clock = clock
        self._health = health
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._open: tuple[SqliteFile, Codec] | None = None
        self._unusable: tuple[float, Exception | None] = -math.inf, None
        threading.Thread(target=self._work, name=f"cascade cache {settings.path.name}", daemon=True).start()

    def ask(self, request: Request) -> None:
        """Queue a request; its answer comes by its event loop."""
        self._requests.put(request)

    def _work(self) -> None:
        while self._serve_waiting():
            pass

    def _serve_waiting(self) -> bool:
        """Serve what waits; return whether more is to come. Values are held no longer than that."""
        batch = self._take()
        stopping = isinstance(batch[-1], Stop)
        try:
            self._serve(batch)
        except Exception as exc:  # a mistake of ours must not leave everybody waiting
            for request in batch:
                request.error = exc
        if stopping:
            self._close()
        _settle(batch)
        return not stopping

    def _take(self) -> list[Request]:
        """Wait for a request, and take those that wait behind it, up to a Stop."""
        batch = [self._requests.get()]
        while len(batch) < MOST_AT_ONCE and not isinstance(batch[-1], Stop):
            try:
                batch.append(self._requests.get_nowait())
            except queue.Empty:
                break
        return batch

    def _serve(self, batch: Sequence[Request]) -> None:
        gets = [request for request in batch if isinstance(request, Get)]
        puts = [request for request in batch if isinstance(request, Put)]
        if gets:
            self._try("find values", gets, self._get)
        if puts:
            self._try("keep values", puts, self._put)

    def _try(
        self,
        ability: str,
        requests: list[RequestT],
        serve: Callable[[SqliteFile, Codec, list[RequestT]], None],
    ) -> None:
        """Serve requests; a fault of the file is what all of them get, or none if it is not required."""
        file = self._opened(requests)
        if file is None:
            return
        try:
            serve(*file, requests)
        except _FAULTS as exc:
            damaged = _is_damaged(exc)
            self._failed(_USE if damaged else ability, exc, requests)
            if damaged:  # what it may still give is not worth a line for every time that it fails
                self._close()
                self._unusable = math.inf, exc
        else:
            self._health.worked(ability)

    def _opened(self, requests: Sequence[Request]) -> tuple[SqliteFile, Codec] | None:
        """Return the open file, or None when it cannot be used and this was not the time to try."""
        if self._open is None:
            until, fault = self._unusable
            try:
                if fault is not None and self._clock.monotonic() < until:
                    raise fault
                self._open = self._settings.open()
            except _FAULTS as exc:
                if exc is not fault:
                    self._unusable = self._clock.monotonic() + REOPEN_AFTER, exc
                self._failed(_USE, exc, requests)
                return None
            self._health.worked(_USE)
        return self._open

    def _failed(self, ability: str, error: Exception, requests: Sequence[Request]) -> None:
        if self._settings.required:
            for request in requests:
                request.error = CacheUnavailable(str(self._settings.path), _cause(error))
        else:
            self._health.failed(ability, _cause(error), advice="tasks run as without it")

    def _get(self, file: SqliteFile, codec: Codec, gets: list[Get]) -> None:
        now = self._clock.now()
        rows = file.read({get.key for get in gets}, now=now)
        for get in gets:
            row = rows.get(get.key)
            get.outcome = None if row is None else self._hit(codec, row, now)

    def _hit(self, codec: Codec, row: Row, now: float) -> Hit | None:
        try:
            return Hit(codec.decode(row), max(0.0, now - row.created))
        except ForeignRowError:
            cause = "it was written with another key, or changed since; it is made again"
            self._health.failed("trust every value", cause)
        except Exception as exc:
            self._health.failed("load every value", f"{exc!r}; it is made again")
        return None

    def _put(self, file: SqliteFile, codec: Codec, puts: list[Put]) -> None:
        now = self._clock.now()
        rows = [row for put in puts if (row := self._row(codec, put, now))]
        if rows:
            file.write(rows, now=now)

    def _row(self, codec: Codec, put: Put, now: float) -> Row | None:
        try:
            row = codec.encode(put.key, put.value, created=now, ttl=put.ttl)
        except Exception as exc:
            put.error = UnstorableValueError(put.value, f"cannot be pickled: {exc}")
            return None
        if len(row.payload) > self._settings.max_value_bytes:
            limit = f"max_value_bytes={self._settings.max_value_bytes}"
            put.error = UnstorableValueError(put.value, f"takes {len(row.payload)} bytes, more than {limit}")
            return None
        return row

    def _close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            with contextlib.suppress(sqlite3.Error):
                opened[0].close()


def _settle(batch: Sequence[Request]) -> None:
    """Wake each loop once for all of its requests."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Request]] = {}
    for request in batch:
        by_loop.setdefault(request.loop, []).append(request)
    for loop, requests in by_loop.items():
        with contextlib.suppress(RuntimeError):  # a loop that is closed awaits nothing any more
            loop.call_soon_threadsafe(_settle_all, requests)


def _settle_all(requests: Sequence[Request]) -> None:
    for request in requests:
        request.settle()


def _cause(error: Exception) -> str:
    if _is_damaged(error):
        return f"the file is damaged ({error}); delete it, or name another path"
    return str(error)


def _is_damaged(error: Exception) -> bool:
    """Tell "malformed" and "not a database" from faults that pass: those are subclasses."""
    return type(error) is sqlite3.DatabaseError
