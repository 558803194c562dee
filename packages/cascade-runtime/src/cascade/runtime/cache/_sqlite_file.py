"""The SQLite file of a cache: schema, reading, writing, and deleting old rows.

Calls block, and the connection belongs to the thread that opened it.
"""

from __future__ import annotations

import contextlib
import hmac
import sqlite3
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cascade.runtime._storage.codec import Signer, decode, encode
from cascade.runtime._storage.private_files import check_file, create_private


class Row(NamedTuple):
    """One value as it is stored."""

    key: str
    encoding: str
    payload: bytes
    mac: bytes
    created: float
    """Seconds since the epoch."""
    expires: float | None


class BadSignatureError(Exception):
    """A row that was not signed with this key, or was changed since."""


class RowCodec:
    """Encodes and decodes rows, signed with one secret key."""

    def __init__(self, signing_key: bytes) -> None:
        self._signer = Signer(signing_key)

    def encode(self, key: str, value: Any, *, created: float, ttl: float | None) -> Row:
        """Return the row for a value's present state; ``created`` in seconds since the epoch.

        :raises Exception: what pickle raises if the value cannot be pickled.
        """
        encoding, payload = encode(value)
        row = Row(key, encoding, payload, b"", created, None if ttl is None else created + ttl)
        return row._replace(mac=self._sign(row))

    def decode(self, row: Row) -> Any:
        """Return the value of a row.

        :raises BadSignatureError: if the signature is wrong.
        :raises Exception: what pickle raises if a class was changed or removed since.
        """
        try:
            valid = hmac.compare_digest(self._sign(row), row.mac)
        except (TypeError, AttributeError, UnicodeError, struct.error):
            # columns of the wrong types
            valid = False
        if not valid:
            raise BadSignatureError
        return decode(row.encoding, row.payload)

    def _sign(self, row: Row) -> bytes:
        times = struct.pack("<d?d", row.created, row.expires is not None, row.expires or 0.0)
        return self._signer.sign(row.key.encode(), row.encoding.encode(), times, row.payload)


APPLICATION_ID = 0x43534344
"""Marks a file as a Cascade cache (``PRAGMA application_id``), unlike other programs' databases."""
SCHEMA_VERSION = 1

BUSY_TIMEOUT = 2.0
"""Seconds to wait for another process that is writing; each of its writes takes milliseconds."""
_TOUCH_AFTER = 3600.0
"""Seconds after which a row's last use is updated again, so that reading seldom has to write."""
_FILL_AFTER_EVICTION = 0.9
"""Share of ``max_bytes`` that stays in use after an eviction, so that not every write evicts."""

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
_DELETE_EXPIRED = "DELETE FROM entries WHERE expires <= ?"
_TOUCH = "UPDATE entries SET used = ? WHERE key = ?"
_ROW_OVERHEAD = 256  # bytes of a row and its index entries beside the payload


class ForeignFileError(Exception):
    """A database of another program or of another version of Cascade; it was not changed."""


class SqliteFile:
    """An open cache file, created if it is missing. Every method may raise ``sqlite3.Error``.

    :raises ForeignFileError: if the file belongs to another program or version.
    :raises OSError: if its folder cannot be created, or another user can write the file or has made it.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._deleted_expired = False
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            create_private(path)
        check_file(path)
        self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        # A row with undecodable text then fails alone, at its signature, not the whole query.
        self._connection.text_factory = _decode
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA trusted_schema = OFF")
        run("PRAGMA cell_size_check = ON")
        # one view of the file: another process may be creating the schema meanwhile
        run("BEGIN")
        with self._connection:
            complete = self._has_schema()
        if not complete:
            run("BEGIN EXCLUSIVE")
            with self._connection:
                # another process may have created it since the first check
                if not self._has_schema():
                    for statement in filter(None, map(str.strip, _SCHEMA.split(";"))):
                        run(statement)
        self._change_to_wal()
        # a commit survives the process, not a power cut
        run("PRAGMA synchronous = NORMAL")

    def _change_to_wal(self) -> None:
        """Have readers and a writer not wait for each other.

        SQLite does not wait for locks here. If another process uses the new file at this moment,
        this one continues without: it notices by itself when the file is changed.
        """
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise

    def _has_schema(self) -> bool:
        """Return True for a cache of this version, False for an empty file; call it in a transaction.

        :raises ForeignFileError: for any other database.
        """
        application, version = self._number("application_id"), self._number("user_version")
        if (
            application == 0
            and version == 0
            and not self._connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        ):
            return False
        if application != APPLICATION_ID:
            raise ForeignFileError("the file is a database of another program; choose another path")
        if version != SCHEMA_VERSION:
            raise ForeignFileError(
                f"the file is a cache of version {version}, but this Cascade writes version {SCHEMA_VERSION}; "
                "choose another path, or delete the file"
            )
        return True

    def read(self, keys: Iterable[str], *, now: float) -> dict[str, Row]:
        """Return the rows that exist and have not expired. ``now``: seconds since the epoch."""
        found: dict[str, Row] = {}
        stale: list[str] = []  # keys whose last use was noted long ago
        self._connection.execute("BEGIN")
        with self._connection:
            for key in keys:
                for *columns, used in self._connection.execute(_SELECT, (key, now)):
                    found[key] = Row(*columns)
                    if not isinstance(used, float) or now - used > _TOUCH_AFTER:
                        stale.append(key)
        if stale:
            self._touch(stale, now)
        return found

    def write(self, rows: Sequence[Row], *, now: float) -> None:
        """Insert or replace rows, all or none, and evict old ones if the file has grown too large."""
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            self._connection.executemany(_UPSERT, [(*row, now) for row in rows])
            if not self._deleted_expired:
                self._connection.execute(_DELETE_EXPIRED, (now,))
            if self.used_bytes() > self._max_bytes:
                self._evict(now)
        self._deleted_expired = True

    def used_bytes(self) -> int:
        """Return how many bytes of the file are in use, without free pages, which SQLite reuses."""
        pages = self._number("page_count") - self._number("freelist_count")
        return pages * self._number("page_size")

    def close(self) -> None:
        """Close the file; committed rows stay."""
        self._connection.close()

    def _touch(self, keys: Sequence[str], now: float) -> None:
        """Update the last use of rows, so that they are not evicted first; skip it if that fails."""
        with contextlib.suppress(sqlite3.OperationalError):
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:
                self._connection.executemany(_TOUCH, [(now, key) for key in keys])

    def _evict(self, now: float) -> None:
        """Delete expired rows, then the least recently used ones."""
        self._connection.execute(_DELETE_EXPIRED, (now,))
        excess = self.used_bytes() - int(self._max_bytes * _FILL_AFTER_EVICTION)
        oldest = self._connection.execute("SELECT rowid, length(payload) FROM entries ORDER BY used, rowid")
        evicted: list[tuple[int]] = []
        for rowid, size in oldest:
            if excess <= 0:
                break
            excess -= size + _ROW_OVERHEAD
            evicted.append((rowid,))
        oldest.close()
        self._connection.executemany("DELETE FROM entries WHERE rowid = ?", evicted)

    def _number(self, pragma: str) -> int:
        (number,) = self._connection.execute(f"PRAGMA {pragma}").fetchone()
        return int(number)


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
