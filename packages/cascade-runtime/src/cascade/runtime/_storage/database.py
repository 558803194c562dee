"""SQLite files that a process writes alone: opening, migrating and reading them."""

from __future__ import annotations

import contextlib
import errno
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cascade.runtime._storage.private_files import Unusable, create_private

BUSY_TIMEOUT = 2.0
"""Seconds to wait for a lock; only another program can hold one that matters."""

_PAUSE = 0.01


def _continue(point: str) -> None:
    """Do nothing: in use, no moment is special."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKind:
    """What a store's files have in common."""

    noun: str
    """Such as "a run"."""
    migrated: str
    """When an older file is migrated, such as "when the run is resumed"."""
    application_id: int
    """Marks the files (``PRAGMA application_id``)."""
    version: int
    schema: str
    unusable: Unusable
    migrations: Mapping[int, str] = field(default_factory=dict)
    """For each older version, the statements that lead to the next one."""
    reach: Callable[[str], None] = _continue
    """Called at named moments, at which a test may end the process."""


def open_to_write(path: Path, kind: FileKind, *, power_safe: bool) -> sqlite3.Connection:
    """Open the file of a locked name, created if it is missing; an older one is migrated.

    The connection may be used in another thread, but only in one.

    :raises Exception: what ``kind.unusable`` makes, if it belongs to another program, or to a newer version.
    :raises sqlite3.Error: if it is damaged, or the disk fails.
    :raises OSError: if it cannot be created.
    """
    if not path.exists():
        logs = (path.with_name(path.name + end) for end in ("-wal", "-journal"))
        # SQLite deletes the log of an earlier file of this name if this one has no bytes, and would apply it to any other
        create_private(path, b"" if any(log.exists() for log in logs) else _empty(path, kind))
        # its name is safe with the first commit: SQLite flushes the folder when it makes the log
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        version = version_of(connection, path, kind)
        _change_to_wal(connection)
        connection.execute(f"PRAGMA synchronous = {'FULL' if power_safe else 'NORMAL'}")
        if version == 0:
            _run(connection, kind, kind.schema)
        elif version < kind.version:
            _migrate(connection, path, kind, version)
    except BaseException:
        connection.close()
        raise
    return connection


_EMPTY: dict[tuple[int, str], bytes] = {}
"""The bytes of an empty file, by application and schema."""


def _empty(path: Path, kind: FileKind) -> bytes:
    """Return the bytes of a file without rows, which is in WAL mode already.

    So a new file is complete as soon as it has its name. To have SQLite do the same there takes six more flushes of the disk.
    """
    key = kind.application_id, kind.schema
    if key not in _EMPTY:
        model = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        create_private(model)
        try:
            with contextlib.closing(sqlite3.connect(model, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = OFF")
                _change_to_wal(connection)
                _run(connection, kind, kind.schema)
            _EMPTY[key] = model.read_bytes()
        finally:
            model.unlink()
    return _EMPTY[key]


@contextlib.contextmanager
def reading(path: Path, kind: FileKind, *, older: bool = False) -> Iterator[sqlite3.Connection | None]:
    """Open a file that another process may be writing; it is never changed, and never checkpointed.

    Yields None for a file that was created and never filled.

    :param older: accept every older version, too: for what is the same in all of them.
    :raises Exception: what ``kind.unusable`` makes, if it belongs to another program, or to another version.
    :raises sqlite3.Error: if it is damaged, or cannot be opened.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        version = version_of(connection, path, kind)
        if version not in (0, kind.version) and not older:
            raise kind.unusable(
                str(path), f"it is {kind.noun} of version {version}, which is migrated {kind.migrated}"
            )
        yield connection if version else None


def newer_version(path: Path, kind: FileKind) -> int:
    """Return the version of a file of this kind that a later Cascade has written; 0 for any other file, and for none.

    :raises sqlite3.Error: if it is damaged, or cannot be opened.
    """
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        version = _number(connection, "user_version")
        return (
            version
            if _number(connection, "application_id") == kind.application_id and version > kind.version
            else 0
        )


def version_of(connection: sqlite3.Connection, path: Path, kind: FileKind) -> int:
    """Return the version of a file of this kind, 0 for an empty file.

    :raises Exception: what ``kind.unusable`` makes, for any other database, and for a newer version.
    :raises sqlite3.DatabaseError: if it is damaged.
    """
    application, version = _number(connection, "application_id"), _number(connection, "user_version")
    try:
        empty = not connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except UnicodeDecodeError as exc:
        # what SQLite says of a damaged schema repeats its bytes
        damaged = sqlite3.DatabaseError("malformed database schema")
        damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damaged from exc
    if application == 0 and version == 0 and empty:
        return 0
    if application != kind.application_id:
        raise kind.unusable(str(path), "it is a database of another program")
    if version > kind.version:
        raise kind.unusable(
            str(path),
            f"it is {kind.noun} of version {version}, and this Cascade writes {kind.version}; upgrade Cascade",
        )
    return version


def _change_to_wal(connection: sqlite3.Connection) -> None:
    """Have readers and the writer not wait for each other.

    SQLite does not wait for locks here. While a reader has the file for longer, this process
    continues without: every commit is as safe, only slower.
    """
    until = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if time.monotonic() > until:
                return
        time.sleep(_PAUSE)


def _migrate(connection: sqlite3.Connection, path: Path, kind: FileKind, version: int) -> None:
    """Migrate the file in one transaction, after a copy of it was made."""
    copy = path.with_name(f"{path.name}.v{version}")
    copy.unlink(missing_ok=True)
    create_private(copy)
    with contextlib.closing(sqlite3.connect(copy)) as kept:
        connection.backup(kept)
    statements = ";".join(kind.migrations[number] for number in range(version, kind.version))
    _run(connection, kind, statements)


def _run(connection: sqlite3.Connection, kind: FileKind, statements: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        for statement in filter(None, map(str.strip, statements.split(";"))):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {kind.application_id}")
        connection.execute(f"PRAGMA user_version = {kind.version}")
        kind.reach("migrating")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    (number,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(number)


_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_damaged(error: Exception) -> bool:
    """Return whether the file itself is broken: no further try can help."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def is_full(error: BaseException) -> bool:
    """Return whether the disk, or the user's part of it, has no space left."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def cause_of(error: BaseException) -> str:
    """Return an error's text, with its extended name where SQLite's text says little ("disk I/O error")."""
    name = getattr(error, "sqlite_errorname", "")
    return f"{error} ({name})" if name and "_" in name.removeprefix("SQLITE_") else str(error)
