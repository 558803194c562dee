"""The schema of a run's file."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from cascade.interfaces import StateUnavailable
from cascade.runtime._durable.crash_points import reach
from cascade.runtime._durable.paths import RunPaths
from cascade.runtime._storage import database
from cascade.runtime._storage.database import FileKind

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
