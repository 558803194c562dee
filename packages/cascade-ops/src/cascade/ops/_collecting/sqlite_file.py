"""Events in an SQLite file. Calls block; one thread at a time uses an object."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from cascade.cli.collected import APPLICATION_ID, VERSION, has_tables
from cascade.ops._collecting.message import Hole, Known, Received, Series
from cascade.ops._collecting.spans import Spans

_SCHEMA = f"""
CREATE TABLE event (
    event_id TEXT PRIMARY KEY, source TEXT, run_id TEXT, token TEXT, seq INT, kind TEXT, topic TEXT, received REAL,
    payload TEXT
);
CREATE INDEX event_received ON event (received);
CREATE INDEX event_run ON event (run_id);
CREATE TABLE series (
    source TEXT, run_id TEXT, token TEXT, spans TEXT, since REAL, PRIMARY KEY (source, run_id, token)
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""
_SERIES = "SELECT spans, since FROM series WHERE source = ? AND run_id = ? AND token = ?"
_RECENT = 1_000


class SqliteFile:
    """The table ``event`` has one row for each event; ``series`` has what is known of each attempt of a run.

    :param keep: seconds after which events are deleted; None: never.
    :raises CommandError: if the file belongs to another program or version, or is in use.
    :raises sqlite3.Error: if the disk fails.
    """

    def __init__(self, path: Path, *, keep: float | None = None) -> None:
        self._path = path
        self._keep = keep
        self._pruned = 0.0
        self._known: dict[Series, Known] = {}
        # events may hold what other users of the machine must not read; SQLite gives its further files the same mode
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._connection = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        try:
            _prepare(self._connection, path)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            self._connection.close()
            raise

    def store(self, batch: Sequence[Received]) -> dict[Series, Known]:
        """Commit what is new of a batch; return the series that it concerns, of duplicates too."""
        found: dict[Series, Known] = {}
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            with self._connection:
                for message in batch:
                    self._add(message, found)
                self._connection.executemany(
                    "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?, ?)",
                    (
                        (*series, json.dumps(known.spans.ranges), known.since)
                        for series, known in found.items()
                    ),
                )
                self._prune(batch[-1].at if batch else 0.0)
        except BaseException:
            self._known.clear()  # it has what was not committed
            raise
        return found

    def holes(self) -> list[Hole]:
        """Return what is missing, the oldest hole first."""
        rows = self._connection.execute("SELECT * FROM series WHERE since IS NOT NULL ORDER BY since")
        return [
            Hole(Series(source, run_id, token), Spans(json.loads(spans)).missing, since)
            for source, run_id, token, spans, since in rows
        ]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _add(self, message: Received, found: dict[Series, Known]) -> None:
        event, series = message.event, message.series
        if message.counted is not None:
            known = found[series] = self._of(series)
            if not known.add(message.counted, message.at):
                return
        self._connection.execute(
            "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.event_id or None,
                *series,
                event.seq,
                event.kind,
                message.topic,
                message.at,
                json.dumps(message.payload),
            ),
        )

    def _of(self, series: Series) -> Known:
        known = self._known.get(series)
        if known is None:
            row = self._connection.execute(_SERIES, series).fetchone()
            known = Known() if row is None else Known(Spans(json.loads(row[0])), row[1])
            while len(self._known) >= _RECENT:
                del self._known[next(iter(self._known))]
            self._known[series] = known
        return known

    def _prune(self, now: float) -> None:
        """Delete old events, once an hour; the series stay, so that a late duplicate is one."""
        if self._keep is not None and now - self._pruned > 3600.0:
            self._pruned = now
            self._connection.execute("DELETE FROM event WHERE received < ?", (now - self._keep,))


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables in an empty file.

    :raises CommandError: if the file belongs to another program or version.
    """
    if not has_tables(connection, path):
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT")
