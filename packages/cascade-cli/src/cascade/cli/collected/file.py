"""A collector's SQLite file, opened to read."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from cascade.cli.collected.salvage import salvaged
from cascade.cli.errors import CommandError

APPLICATION_ID = 0x4353434F
VERSION = 2
OF_LATEST_USE = """NOT EXISTS (
    SELECT 1 FROM event l WHERE l.type = 'LifecycleEvent' AND l.seq = 0 AND l.attempt = 1
        AND (l.run_id, l.source, l.org_id, l.project_id) = (event.run_id, event.source, event.org_id, event.project_id)
        AND l.token != event.token AND l.received > event.received
)"""
"""Whether an event is of the latest run of its id. Only a recorded run has further attempts: a first one that came later is another run."""
BUSY_SECONDS = 2.0
"""Seconds in which another program has to end a change during which the file cannot be read."""
_EACH = 2_000
"""Steps of SQLite's machine between two looks at the clock."""


class Interrupted(Exception):
    """SQLite was at work for too long, or its reader has gone."""


class CollectedFile:
    """A collector's file. Of a truncated or damaged one it reads what is whole; ``problem`` then says so.

    One thread at a time uses an object; another one may call ``cancel`` and ``close``.

    :raises CommandError: if it is not there, cannot be read, or is not a collector's file of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        """Why what was read is not all; empty if it is."""
        if not path.is_file():
            raise CommandError(f"the file {path} does not exist", "cascade collect --to creates it")
        self._cancelled = threading.Event()
        # a connection that is closed while it executes a query ends the process
        self._in_use = threading.RLock()
        self._deadline: float | None = None
        self._connection = _connect(path)
        try:
            self.is_empty = not self._is_ready()
        except BaseException:
            self._connection.close()
            raise
        self._connection.set_progress_handler(self._must_stop, _EACH)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, after the query that runs now."""
        with self._in_use:
            self._connection.close()

    @property
    def is_cancelled(self) -> bool:
        """Whether its reader has gone."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End the query that runs now, and every later one."""
        self._cancelled.set()

    def rows(
        self, query: str, values: Sequence[Any] = (), *, within: float | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query.

        :param within: seconds that SQLite may take; None: any.
        :raises Interrupted: if it takes longer, or after ``cancel``.
        :raises CommandError: if another program keeps the file for itself.
        """
        with self._in_use:
            return self._rows(query, values, within)

    def _rows(self, query: str, values: Sequence[Any], within: float | None) -> list[tuple[Any, ...]]:
        if self._cancelled.is_set():
            raise Interrupted
        if self.is_empty:
            return []
        self._deadline = None if within is None else time.monotonic() + within
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as exc:
            code = _code(exc)
            if code == sqlite3.SQLITE_INTERRUPT:
                raise Interrupted from exc
            # without a code: a text that is not UTF-8; and "malformed JSON" is any error
            if code not in (None, sqlite3.SQLITE_ERROR) and isinstance(exc, sqlite3.OperationalError):
                raise _unreadable(self.path, exc) from exc
            self.salvage(exc)
            return self._connection.execute(query, values).fetchall()
        finally:
            self._deadline = None

    def _must_stop(self) -> bool:
        late = self._deadline is not None and time.monotonic() > self._deadline
        return late or self._cancelled.is_set()

    def _is_ready(self) -> bool:
        try:
            found = has_tables(self._connection, self.path)
        except _Damaged as exc:
            # SQLite reads a file that is shorter than its first page says only so
            self._connection.execute("PRAGMA writable_schema = ON")
            found = has_tables(self._connection, self.path)
            self._check_version()
            self.salvage(exc.cause)
        self._check_version()
        return found

    def _check_version(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if 0 < version < VERSION:
            raise CommandError(
                f"{self.path} is of version {version}",
                f"cascade collect --to {self.path} --holes makes it {VERSION}",
            )

    def salvage(self, error: Exception) -> None:
        """Go on with a copy of what is whole; what was read before has to be read again.

        :param error: what shows that the file is damaged.
        :raises CommandError: if this is the copy already, or nothing of the file can be read.
        """
        why = str(error) if _code(error) not in (None, sqlite3.SQLITE_ERROR) else "a value cannot be read"
        if self.problem:
            raise CommandError(f"{self.path}: {why}", "restore it from a copy") from error
        self.problem = f"{self.path} is damaged ({why}): what is whole is shown; restore it from a copy"
        with self._in_use:
            self._connection.set_progress_handler(None, 0)
            try:
                copy = salvaged(self._connection)
            except sqlite3.DatabaseError as exc:
                raise CommandError(f"{self.path} is damaged", "restore it from a copy") from exc
            damaged, self._connection = self._connection, copy
            self._connection.set_progress_handler(self._must_stop, _EACH)
            damaged.close()


class _Damaged(CommandError):
    """SQLite cannot read the first page, or says that pages are missing."""

    def __init__(self, path: Path, cause: sqlite3.DatabaseError) -> None:
        self.cause = cause
        super().__init__(f"{path}: {cause}", "name another file")


def _connect(path: Path) -> sqlite3.Connection:
    """Open a file to read. SQLite writes nothing beside it: what it needs there is there while another program writes."""
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    uri = f"{path.absolute().as_uri()}?{mode}"
    try:
        return sqlite3.connect(
            uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
        )
    except sqlite3.OperationalError as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: Path, error: sqlite3.OperationalError) -> CommandError:
    if (_code(error) or 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return CommandError(
            f"another program keeps {path} for itself ({error})", "try again when it has ended"
        )
    return CommandError(f"{path} cannot be read: {error}", "check who may read it and its folder")


def _code(error: Exception) -> int | None:
    """Return SQLite's code; None for another error, such as one of Python's module."""
    return getattr(error, "sqlite_errorcode", None)


def has_tables(connection: sqlite3.Connection, path: Path) -> bool:
    """Return whether a file has a collector's tables; an empty file has none.

    :raises CommandError: if the file belongs to another program or a later version.
    """
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        empty = not connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError as exc:
        raise _unreadable(path, exc) from exc
    except sqlite3.DatabaseError as exc:
        raise _Damaged(path, exc) from exc
    except UnicodeDecodeError as exc:
        # of SQLite's own message, which quotes what is damaged
        raise _Damaged(path, sqlite3.DatabaseError("database disk image is malformed")) from exc
    if application == 0 and empty:
        return False
    if application != APPLICATION_ID:
        raise CommandError(f"{path} is a database of another program", "name another file")
    if version > VERSION:
        raise CommandError(
            f"{path} is of version {version}, and this Cascade writes {VERSION}", "upgrade Cascade"
        )
    return True
