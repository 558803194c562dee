"""Saving what can be read of a damaged file."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from cascade.runtime._storage.private_file import create_private

_TABLES = ("run", "attempt", "step", "result")


def rescue_of(database: Path, error: Exception) -> str:
    """Copy what can be read of a damaged file into another one; return the cause with its name."""
    rescue = database.with_name(f"{database.name}.rescue")
    saved = "nothing could be read"
    with contextlib.suppress(sqlite3.Error, OSError):
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
