"""The thread of an SQLite cache: it serves all waiting requests at once, so that they share a commit."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cascade.interfaces import CacheUnavailable, Clock, Hit, UnstorableValueError
from cascade.runtime._storage.database import is_damaged
from cascade.runtime._storage.group_commit import Request
from cascade.runtime._storage.signing_key import load_signing_key
from cascade.runtime.cache._sqlite_file import BadSignatureError, ForeignFileError, Row, RowCodec, SqliteFile
from cascade.transport.state_log import StateLog

REOPEN_AFTER = 5.0
"""Seconds before a file that could not be used is tried again."""

_USE = "use its file"
_FAULTS = (sqlite3.Error, OSError, ForeignFileError)
RequestT = TypeVar("RequestT", bound=Request)


@dataclass(frozen=True, slots=True)
class SqliteSettings:
    """The settings of a cache."""

    path: Path
    max_bytes: int
    max_value_bytes: int
    required: bool

    def open(self) -> tuple[SqliteFile, RowCodec]:
        """Open the file and read the signing key beside it.

        :raises Exception: what SQLite and the file system raise.
        """
        file = SqliteFile(self.path, max_bytes=self.max_bytes)
        try:
            return file, RowCodec(load_signing_key(self.path.with_name(f"{self.path.name}.key")))
        except BaseException:
            file.close()
            raise


@dataclass(slots=True, eq=False)
class Get(Request):
    """Look a key up; the result is a Hit or None."""

    key: str


@dataclass(slots=True, eq=False)
class Put(Request):
    """Store a value."""

    key: str
    value: Any
    ttl: float | None


class CacheStore:
    """Opens the file on first use; each batch of requests is one read and one commit.

    ``state_log`` belongs to the cache, which may make another store later.
    """

    def __init__(self, settings: SqliteSettings, *, name: str, clock: Clock, state_log: StateLog) -> None:
        self._settings = settings
        self._name = name
        self._clock = clock
        self._state_log = state_log
        self._open: tuple[SqliteFile, RowCodec] | None = None
        # Until this monotonic time the file is not tried again, and this is why.
        self._unusable: tuple[float, Exception | None] = -math.inf, None

    def serve(self, batch: Sequence[Request]) -> None:
        """Serve the gets, then the puts."""
        gets = [request for request in batch if isinstance(request, Get)]
        puts = [request for request in batch if isinstance(request, Put)]
        if gets:
            self._attempt("read values", gets, self._get)
        if puts:
            self._attempt("store values", puts, self._put)

    def _attempt(
        self,
        ability: str,
        requests: list[RequestT],
        serve: Callable[[SqliteFile, RowCodec, list[RequestT]], None],
    ) -> None:
        """Serve requests. If the file fails, a required cache fails them all; another one finds nothing."""
        file = self._opened(requests)
        if file is None:
            return
        try:
            serve(*file, requests)
        except _FAULTS as exc:
            damaged = is_damaged(exc)
            self._failed(_USE if damaged else ability, exc, requests)
            # reading on might work in part, but would log a warning for each failure
            if damaged:
                self.close()
                self._unusable = math.inf, exc
        else:
            self._works(ability)

    def _opened(self, requests: Sequence[Request]) -> tuple[SqliteFile, RowCodec] | None:
        """Return the open file; None if it cannot be opened, or failed less than REOPEN_AFTER ago."""
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
            self._works(_USE)
        return self._open

    def _failed(self, ability: str, error: Exception, requests: Sequence[Request]) -> None:
        if self._settings.required:
            for request in requests:
                request.error = CacheUnavailable(str(self._settings.path), _cause(error))
        else:
            message = "%s cannot %s: %s; tasks run without it"
            self._state_log.failed(ability, message, self._name, ability, _cause(error))

    def _works(self, ability: str) -> None:
        self._state_log.works(ability, "%s can %s again", self._name, ability)

    def _get(self, file: SqliteFile, codec: RowCodec, gets: list[Get]) -> None:
        now = self._clock.now()
        rows = file.read({get.key for get in gets}, now=now)
        for get in gets:
            row = rows.get(get.key)
            get.result = None if row is None else self._hit(codec, row, now)

    def _hit(self, codec: RowCodec, row: Row, now: float) -> Hit | None:
        try:
            value, age = codec.decode(row), now - row.created
            if age >= 0:
                return Hit(value, age)
            # the clock was set back after the value was stored, so its age is not known
            return Hit(value, math.inf) if row.expires is None else None
        except BadSignatureError:
            message = "%s ignored a value that was changed or signed with another key; its task runs again"
            self._state_log.failed("signature", message, self._name)
        except Exception as exc:
            message = "%s cannot load a stored value: %r; its task runs again"
            self._state_log.failed("load", message, self._name, exc)
        return None

    def _put(self, file: SqliteFile, codec: RowCodec, puts: list[Put]) -> None:
        now = self._clock.now()
        rows = [row for put in puts if (row := self._row(codec, put, now))]
        if rows:
            file.write(rows, now=now)

    def _row(self, codec: RowCodec, put: Put, now: float) -> Row | None:
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

    def close(self) -> None:
        """Close the file; the next request would open it again."""
        opened, self._open = self._open, None
        if opened is not None:
            with contextlib.suppress(sqlite3.Error):
                opened[0].close()


def _cause(error: Exception) -> str:
    if is_damaged(error):
        return f"the file is damaged ({error}); delete it, or choose another path"
    return str(error)
