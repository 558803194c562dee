"""The schema of a run's file, and saving what can be read of a damaged one."""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from cascade.interfaces import StateUnavailable
from cascade.runtime._durable.crash_points import reach
from cascade.runtime._durable.folder import RunPaths
from cascade.runtime._storage import database
from cascade.runtime._storage.database import FileKind
from cascade.runtime._storage.private_files import create_private

APPLICATION_ID = 0x43535352
"""Marks a file as a recorded run of Cascade (``PRAGMA application_id``)."""
SCHEMA_VERSION = 1

MIGRATIONS: dict[int, str] = {}
"""For each older version, the statements that lead to the next one."""

_SCHEMA = """
CREATE TABLE run (
    run_id TEXT, target TEXT, status TEXT, created REAL, ended REAL, error TEXT, by TEXT, params BLOB,
    params_mac BLOB, env BLOB, shape BLOB
);
CREATE TABLE attempt (
    n INTEGER PRIMARY KEY, token BLOB, host TEXT, pid INT, boot TEXT, source TEXT, cascade TEXT, python TEXT,
    started REAL, ended REAL, how TEXT, kept INT
);
CREATE TABLE step (
    key TEXT PRIMARY KEY, name TEXT, state INT, inputs BLOB, code BLOB, attempt INT, starts INT, tries INT,
    began REAL, ended REAL, not_before REAL, error TEXT, seq INT, token BLOB
) WITHOUT ROWID;
CREATE TABLE result (key TEXT PRIMARY KEY, encoding TEXT, payload BLOB, mac BLOB, file TEXT, size INT);
CREATE TABLE event (number INTEGER PRIMARY KEY, topic TEXT, payload TEXT, qos INT);
CREATE INDEX result_file ON result (file) WHERE file IS NOT NULL;
"""


def open_to_write(paths: RunPaths, *, power_safe: bool) -> sqlite3.Connection:
    """Open the file of a claimed run; see :func:`database.open_to_write`.

    :raises StateUnavailable: if it belongs to another program, or to a newer version.
    :raises sqlite3.Error: if it is damaged, or the disk fails.
    :raises OSError: if it cannot be created.
    """
    return database.open_to_write(paths.database, _kind(), power_safe=power_safe)


def reading(path: Path, *, older: bool = False) -> AbstractContextManager[sqlite3.Connection | None]:
    """Open the file of a run that another process may be writing; see :func:`database.reading`."""
    return database.reading(path, _kind(), older=older)


def _kind() -> FileKind:
    return FileKind(
        noun="a run",
        migrated="when the run is resumed",
        application_id=APPLICATION_ID,
        version=SCHEMA_VERSION,
        schema=_SCHEMA,
        unusable=StateUnavailable,
        migrations=MIGRATIONS,
        reach=reach,
    )


_TABLES = ("run", "attempt", "step", "result")


def rescue_of(database: Path, error: Exception) -> str:
    """Copy what can be read of a damaged file into another one; return the cause with its name."""
    rescue = database.with_name(f"{database.name}.rescue")
    saved = "nothing could be read"
    # also ValueError and TypeError: a schema that is no text, or has no such table
    with contextlib.suppress(sqlite3.Error, OSError, ValueError, TypeError):
        if _copy(database, rescue):
            saved = f"what could be read is in {rescue.name}"
    return f"is damaged ({error}); {saved}; start a new run, or restore a copy"


def _copy(damaged: Path, rescue: Path) -> int:
    """Copy all readable rows, from both ends of each table; return how many."""
    rescue.unlink(missing_ok=True)
    create_private(rescue)
    rows = 0
    with (
        contextlib.closing(sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(rescue)) as target,
        target,
    ):
        for table in _TABLES:
            (schema,) = source.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
            target.execute(schema)
            for order in ("ASC", "DESC"):
                rows += _copy_rows(source, target, table, order)
    return rows


def _copy_rows(source: sqlite3.Connection, target: sqlite3.Connection, table: str, order: str) -> int:
    key = {"run": "run_id", "attempt": "n"}.get(table, "key")
    rows = 0
    with contextlib.suppress(sqlite3.Error):
        for row in source.execute(f"SELECT * FROM {table} ORDER BY {key} {order}"):
            new = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(row))})"
            rows += target.execute(new, row).rowcount
    return rows
