"""The SQLite file of a cache: its schema, reading, writing, making room. Blocks; one thread's own."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from cascade.runtime.storage._codec import Row
from cascade.runtime.storage._private import create_private

APPLICATION_ID = 0x43534344
"""What tells our files from any other program's (``PRAGMA application_id``)."""
SCHEMA_VERSION = 1

BUSY_TIMEOUT = 2.0
"""Seconds to wait for another process that is writing; each of its writes takes milliseconds."""
_TOUCH_AFTER = 3600.0
"""Seconds after which another use of a row is noted, so that reading seldom has to write."""
_ROOM = 0.9
"""The part of the limit that is left in use when room was made."""

_SCHEMA = f"""
CREATE TABLE entries (
    key TEXT NOT NULL UNIQUE, encoding TEXT NOT NULL, payload BLOB NOT NULL, mac BLOB NOT NULL,
    created REAL NOT NULL, expires REAL, used REAL NOT NULL
);
CREATE INDEX entries_used ON entries (used);
CREATE INDEX entries_expires ON entries (expires) WHERE expires IS NOT NULL;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""
_SELECT = """
SELECT key, encoding, payload, mac, created, expires, used FROM entries
WHERE key = ? AND (expires IS NULL OR expires > ?)
"""
_UPSERT = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)"
_SWEEP = "DELETE FROM entries WHERE expires <= ?"
_TOUCH = "UPDATE entries SET used = ? WHERE key = ?"
_ROW_OVERHEAD = 256  # bytes of a row and its index entries beside the payload


class NotOurFileError(Exception):
    """A database of another program, or of a newer Cascade; it was left as it is."""


class SqliteFile:
    """An open file. Every method may raise ``sqlite3.Error``.

    :raises NotOurFileError: if the file is something else.
    :raises OSError: if its folder cannot be made.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._swept = False
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            create_private(path)
        self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        self._connection.text_factory = _lenient  # such a row fails its signature, not all others
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA trusted_schema = OFF")
        run("PRAGMA cell_size_check = ON")
        if not self._is_ours():
            run("BEGIN EXCLUSIVE")
            with self._connection:
                if not self._is_ours():  # nor has another process made it ours by now
                    for statement in filter(None, map(str.strip, _SCHEMA.split(";"))):
                        run(statement)
        run("PRAGMA journal_mode = WAL")  # readers and a writer do not wait for each other
        run("PRAGMA synchronous = NORMAL")  # a commit survives the process, not a power cut

    def _is_ours(self) -> bool:
        """Return True for a cache of this version, False for an empty file."""
        application, version = self._number("application_id"), self._number("user_version")
        if (
            application == 0
            and version == 0
            and not self._connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        ):
            return False
        if application != APPLICATION_ID:
            raise NotOurFileError("it is a database of another program; name another path")
        if version != SCHEMA_VERSION:
            raise NotOurFileError(
                f"it is a cache of version {version}, and this Cascade writes version {SCHEMA_VERSION}; "
                "name another path, or delete it"
            )
        return True

    def read(self, keys: Iterable[str], *, now: float) -> dict[str, Row]:
        """Return the rows that are there and have not expired."""
        found: dict[str, Row] = {}
        resting: list[str] = []
        self._connection.execute("BEGIN")
        with self._connection:
            for key in keys:
                for *columns, used in self._connection.execute(_SELECT, (key, now)):
                    found[key] = Row(*columns)
                    if not isinstance(used, float) or now - used > _TOUCH_AFTER:
                        resting.append(key)
        if resting:
            self._touch(resting, now)
        return found

    def write(self, rows: Sequence[Row], *, now: float) -> None:
        """Put rows in place of those of the same keys, all or none, and make room if need be."""
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            self._connection.executemany(_UPSERT, [(*row, now) for row in rows])
            if not self._swept:
                self._connection.execute(_SWEEP, (now,))
                self._swept = True
            if self.used_bytes() > self._max_bytes:
                self._make_room(now)

    def used_bytes(self) -> int:
        """Return how much of the file is in use; what was deleted is used again later."""
        pages = self._number("page_count") - self._number("freelist_count")
        return pages * self._number("page_size")

    def close(self) -> None:
        """Close the file; what is committed stays."""
        self._connection.close()

    def _touch(self, keys: Sequence[str], now: float) -> None:
        """Note a use, which keeps rows from being the first to go; not worth an error."""
        with contextlib.suppress(sqlite3.OperationalError):
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:
                self._connection.executemany(_TOUCH, [(now, key) for key in keys])

    def _make_room(self, now: float) -> None:
        """Delete what has expired, then what was used longest ago."""
        self._connection.execute(_SWEEP, (now,))
        excess = self.used_bytes() - int(self._max_bytes * _ROOM)
        oldest = self._connection.execute("SELECT rowid, length(payload) FROM entries ORDER BY used, rowid")
        doomed: list[tuple[int]] = []
        for rowid, size in oldest:
            if excess <= 0:
                break
            excess -= size + _ROW_OVERHEAD
            doomed.append((rowid,))
        oldest.close()
        self._connection.executemany("DELETE FROM entries WHERE rowid = ?", doomed)

    def _number(self, pragma: str) -> int:
        (number,) = self._connection.execute(f"PRAGMA {pragma}").fetchone()
        return int(number)


def _lenient(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
