"""A copy of what is whole in a damaged file of a collector."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cascade.cli.collected.fold import CollectedRun

_ADD_SUMMARY = """
INSERT INTO summary (run_id, source, org_id, project_id, name, status, began, ended, error, attempts, latest, counts)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_EVENTS = "SELECT run_id, source, org_id, project_id, token, received, payload FROM event WHERE kind = 'events' ORDER BY attempt, seq"


def salvaged(damaged: sqlite3.Connection) -> sqlite3.Connection:
    """Return a temporary database with the rows that can be read; the summary of each run is made of its events.

    :raises sqlite3.DatabaseError: if not even the names of the tables can be read.
    """
    damaged.text_factory = lambda text: text.decode("utf-8", "replace")
    tables = [*damaged.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")]
    copy = sqlite3.connect("", check_same_thread=False, isolation_level=None)
    try:
        _fill(copy, tables, damaged)
    except BaseException:
        copy.close()
        raise
    return copy


def _fill(copy: sqlite3.Connection, tables: list[tuple[str, str, str]], damaged: sqlite3.Connection) -> None:
    copy.execute("BEGIN")
    for _, _, sql in sorted(tables, key=lambda row: row[0] != "table"):
        copy.execute(sql)
    for kind, name, _ in tables:
        if kind == "table" and name in ("event", "change", "ending", "report", "engine"):
            for row in _whole_rows(damaged, name):
                marks = ", ".join("?" * len(row))
                copy.execute(f"INSERT OR IGNORE INTO {name} VALUES ({marks})", row)
    _summarize(copy)
    copy.execute("COMMIT")


def _whole_rows(damaged: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows in front of what is damaged, then those behind it."""
    for order in ("ASC", "DESC"):
        try:
            rows = damaged.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY rowid {order}")
            names = [name for name, *_ in rows.description]
            yield from (row for row in rows if all(map(_is_whole, names, row)))
            return
        except sqlite3.DatabaseError:
            continue


def _is_whole(column: str, value: object) -> bool:
    """Return whether a value can be one of a column: what the disk has lost reads as zeros."""
    if column in ("received", "since"):
        return isinstance(value, float) or (value is None and column == "since")
    if column in ("seq", "attempt"):
        return value is None or isinstance(value, int)
    if column != "payload" or not isinstance(value, str):
        return column != "payload" and (value is None or isinstance(value, str))
    try:
        return isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def _summarize(copy: sqlite3.Connection) -> None:
    runs: dict[tuple[str, ...], CollectedRun] = {}
    heard: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for *names, token, received, payload in copy.execute(_EVENTS):
        key = tuple(names)
        run = runs.setdefault(key, CollectedRun())
        run.add(token, payload)
        heard[key].append(received)
    for key, run in runs.items():
        first, last = min(heard[key]), max(heard[key])
        began, ended = _seconds(run.created, first), _seconds(run.ended, None)
        counts = json.dumps(run.counts)
        row = (*key, run.name, run.status, began, ended, run.error, len(run.tokens), last, counts)
        copy.execute(_ADD_SUMMARY, row)


def _seconds(text: str | None, otherwise: float | None) -> float | None:
    try:
        return datetime.fromisoformat(text or "").timestamp()
    except (ValueError, OverflowError):
        return otherwise
