"""Events in an SQLite file. Calls block; one thread at a time uses an object."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cascade.cli.collected import OF_LATEST_USE
from cascade.interfaces.topics import PROGRESS, parse_state_topic, parse_status_topic
from cascade.ops._collecting.file_lock import check_in_place, open_private
from cascade.ops._collecting.message import Change, Hole, Known, Received, Series, seconds_of
from cascade.ops._collecting.schema import prepare
from cascade.ops._collecting.spans import Spans
from cascade.wire import EventMessage, parse_event

_RECENT = 1_000
_AT_ONCE = 100
"""Runs that one commit deletes at most: the broker waits for it."""
_HOUR = 3600.0
_SET_SECONDS = 60.0
"""A wall clock that has gone so much faster or slower since the last commit was set."""

_ADD_SERIES = "INSERT OR REPLACE INTO series (source, run_id, token, org_id, project_id, spans, since) VALUES (?, ?, ?, ?, ?, ?, ?)"
_SERIES = "SELECT spans, since FROM series WHERE source = ? AND run_id = ? AND token = ? AND org_id = ? AND project_id = ?"
_HOLES = "SELECT source, run_id, token, org_id, project_id, spans, since FROM series WHERE since IS NOT NULL ORDER BY since"
_ADD_EVENT = "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_PROGRESS = "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?, ?, ?, ?)"
_BEFORE = """
SELECT topic, payload FROM event WHERE source = ? AND run_id = ? AND token = ? AND org_id = ? AND project_id = ?
    AND kind = 'events' AND received < ? ORDER BY seq
"""
_OF_RUN = "run_id = ? AND source = ? AND org_id = ? AND project_id = ?"
_HEARD = """
INSERT INTO summary (run_id, source, org_id, project_id, name, status, began, error, attempts, latest)
VALUES (?, ?, ?, ?, '', '', ?, '', 1, ?)
ON CONFLICT DO UPDATE SET latest = max(latest, excluded.latest)
"""
_LIFECYCLE = f"""
SELECT token, received, payload FROM event WHERE type = 'LifecycleEvent' AND {_OF_RUN}
ORDER BY min(received) OVER (PARTITION BY token), seq
"""
_LATEST_TOKEN = f"SELECT token FROM event WHERE type = 'LifecycleEvent' AND {_OF_RUN} ORDER BY seq = 0 DESC, received DESC LIMIT 1"
_SUMMARIZE = f"UPDATE summary SET name = ?, status = ?, began = coalesce(?, began), ended = ?, error = ?, attempts = ? WHERE {_OF_RUN}"
_COUNT = f"""
UPDATE summary SET counts = CASE WHEN ended IS NOT NULL THEN (
    SELECT json_group_object(state, n) FROM (
        SELECT state, count(*) AS n FROM (
            SELECT json_extract(payload, '$.body.state') AS state, max(attempt * 1e9 + coalesce(seq, 0)) FROM event
            WHERE kind = 'events' AND type = 'TaskStateEvent' AND {_OF_RUN} AND {OF_LATEST_USE} GROUP BY json_extract(payload, '$.body.task_id')
        ) GROUP BY state
    )
) END WHERE {_OF_RUN}
"""
_PLACES = "SELECT org_id, project_id FROM series WHERE run_id = ? AND source = ? AND token = ?"
_ADD_ENDING = """
INSERT INTO ending VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET token = excluded.token, received = excluded.received, payload = excluded.payload
    WHERE payload != excluded.payload AND json_extract(payload, '$.ended') <= json_extract(excluded.payload, '$.ended')
"""
_ENDING = f"SELECT token, received, payload FROM ending WHERE {_OF_RUN}"
_HAS_ENDED = f"UPDATE summary SET status = ?, ended = ?, error = ? WHERE status = 'Running' AND {_OF_RUN}"
_ADD_REPORT = "INSERT OR REPLACE INTO report VALUES (?, ?, ?, ?, ?, ?, ?)"
_ADD_ENGINE = """
INSERT INTO engine VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET status = excluded.status,
    since = CASE WHEN excluded.process IN ('', process) THEN since ELSE excluded.since END,
    process = CASE excluded.process WHEN '' THEN process ELSE excluded.process END
"""
_OLD_RUNS = "SELECT run_id, source, org_id, project_id FROM summary WHERE latest < ? LIMIT ?"
_OLD_CHANGES = "DELETE FROM change WHERE received < ? AND EXISTS (SELECT 1 FROM change c WHERE c.topic = change.topic AND c.rowid > change.rowid)"
_LAST_CHANGE = "SELECT payload FROM change WHERE topic = ? ORDER BY rowid DESC LIMIT 1"


class RunKey(NamedTuple):
    """One run of one engine, in all its attempts."""

    run_id: str
    source: str
    org_id: str
    project_id: str


class SqliteFile:
    """The table ``event`` has one row for each event, and ``summary`` one for each run; ``series`` has what is known of
    each attempt of a run.

    :param keep: seconds after its last event after which a run is deleted; None: never. For an hour after the clock was set, nothing is:
        it may be wrong, and what it deletes is gone.
    :param alone: refuse a file that another collector uses.
    :raises CommandError: if the file belongs to another program or a later version, or is in use.
    :raises sqlite3.Error: if the disk fails.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep: float | None = None,
        alone: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._keep = keep
        self._monotonic = monotonic
        # the wall clock at 0 of the other one, and when it is believed, on the other one
        self._epoch: float | None = None
        self._believed = 0.0
        self._pruned = 0.0
        self._known: dict[Series, Known] = {}
        # events may hold what other users of the machine must not read; SQLite gives its further files the same mode
        self._lock = open_private(path, alone=alone)
        try:
            self._connection = sqlite3.connect(
                path, timeout=0.5, isolation_level=None, check_same_thread=False
            )
        except BaseException:
            os.close(self._lock)
            raise
        try:
            if prepare(self._connection, path):
                self._summarize_all()
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            self.close()
            raise

    @property
    def session(self) -> str:
        """The name of the collector's session, which nobody can guess: made with the file."""
        (session,) = self._connection.execute("SELECT session FROM collector").fetchone()
        return str(session)

    def store(self, batch: Sequence[Received], changes: Sequence[Change] = ()) -> dict[Series, Known]:
        """Commit what is new of a batch; return the series that it concerns, of duplicates too."""
        found: dict[Series, Known] = {}
        check_in_place(self._path, self._lock)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            with self._connection:
                heard: dict[RunKey, tuple[float, float, bool]] = {}
                for message in batch:
                    if self._add(message, found):
                        _note(heard, message)
                self._summarize(heard)
                self._connection.executemany(
                    _ADD_SERIES,
                    (
                        (*series, json.dumps(known.spans.ranges), known.since)
                        for series, known in found.items()
                    ),
                )
                for change in changes:
                    self._add_change(change)
                self._prune(max([*(each.at for each in batch), *(each.at for each in changes)], default=0.0))
        except BaseException:
            self._known.clear()  # it has what was not committed
            raise
        return found

    def holes(self) -> list[Hole]:
        """Return what is missing, the oldest hole first."""
        return [
            Hole(Series(*series), Spans(json.loads(spans)).missing, since)
            for *series, spans, since in self._connection.execute(_HOLES)
        ]

    def before(self, series: Series, at: float) -> list[EventMessage]:
        """Return the events of a series that came before a moment, by their numbers."""
        rows = self._connection.execute(_BEFORE, (*series, at))
        return [event for topic, payload in rows if (event := parse_event(topic, payload.encode()))]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        os.close(self._lock)

    def _add(self, message: Received, found: dict[Series, Known]) -> bool:
        """Add a message; return whether it is new."""
        event, series = message.event, message.series
        if message.counted is not None:
            known = found[series] = self._of(series)
            if not known.add(message.counted, message.at):
                return False
        run = _run_of(message)
        payload = json.dumps(message.payload)
        if event.kind == PROGRESS:
            task = str(event.body.get("task_id", ""))
            self._connection.execute(_ADD_PROGRESS, (*run, task, message.at, payload))
            return False
        row = (*run, event.token, event.kind, event.seq, event.attempt, event.type, event.event_id or None)
        added = self._connection.execute(_ADD_EVENT, (*row, message.topic, message.at, payload))
        return added.rowcount > 0

    def _of(self, series: Series) -> Known:
        known = self._known.get(series)
        if known is None:
            row = self._connection.execute(_SERIES, series).fetchone()
            known = Known() if row is None else Known(Spans(json.loads(row[0])), row[1])
            while len(self._known) >= _RECENT:
                del self._known[next(iter(self._known))]
            self._known[series] = known
        return known

    def _add_change(self, change: Change) -> None:
        """Add what is retained now, unless it was before: a new link brings all of it again."""
        if (found := parse_state_topic(change.topic)) is not None:
            source, kind = found
            self._add_endings(source, change) if kind == "ended" else self._add_reports(source, change)
            return
        if (source_of_status := parse_status_topic(change.topic)) is not None:
            self._connection.execute(_ADD_ENGINE, (source_of_status, *_presence(change.payload), change.at))
        payload = json.dumps(change.payload)
        last = self._connection.execute(_LAST_CHANGE, (change.topic,)).fetchone()
        if last != (payload,) and (last is not None or change.payload):
            self._connection.execute(
                "INSERT INTO change VALUES (?, ?, ?)", (change.topic, change.at, payload)
            )

    def _add_endings(self, source: str, change: Change) -> None:
        """Add how runs ended, as their engine reports it."""
        for run, token, row in self._rows(source, change):
            self._connection.execute(_ADD_ENDING, (*run, token, change.at, json.dumps(row)))
            self._end_as_reported(run)

    def _add_reports(self, source: str, change: Change) -> None:
        """Add the last report of runs whose engine has gone."""
        for run, token, row in self._rows(source, change):
            reported = {**row, "ts": change.payload.get("ts")}
            self._connection.execute(_ADD_REPORT, (*run, token, change.at, json.dumps(reported)))

    def _rows(self, source: str, change: Change) -> Iterator[tuple[RunKey, str, dict[str, Any]]]:
        """Yield the runs of a report with their tokens; whose run it is says the token of its events."""
        for row in change.payload.get("runs", ()):
            if not isinstance(row, dict):
                continue
            run_id, token = str(row.get("run_id")), str(row.get("token"))
            places = self._connection.execute(_PLACES, (run_id, source, token)).fetchall()
            if len(places) == 1:
                yield RunKey(run_id, source, *places[0]), token, row

    def _summarize(self, heard: dict[RunKey, tuple[float, float, bool]]) -> None:
        for run, (first, last, turned) in heard.items():
            self._connection.execute(_HEARD, (*run, first, last))
            if turned:
                self._summarize_run(run)
            # a run that goes on is counted once it ends
            self._connection.execute(_COUNT, (*run, *run))

    def _summarize_run(self, run: RunKey) -> None:
        """Say in one row what the starts and ends of a run say; they may have come late, and in any order."""
        self._connection.execute(_SUMMARIZE, (*_summary(self._connection.execute(_LIFECYCLE, run)), *run))
        self._end_as_reported(run)

    def _end_as_reported(self, run: RunKey) -> None:
        """End a run as its engine reports it if no event says so: a killed engine sends none, and the last one may be lost."""
        found = self._connection.execute(_ENDING, run).fetchone()
        # the same run may go on in another attempt
        if found is None or self._connection.execute(_LATEST_TOKEN, run).fetchone() != found[:1]:
            return
        _, received, payload = found
        row = json.loads(payload)
        ended = seconds_of(row.get("ended"), received)
        if status := str(row.get("status") or ""):
            self._connection.execute(_HAS_ENDED, (status, ended, str(row.get("error") or ""), *run))

    def _summarize_all(self) -> None:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            runs = self._connection.execute("SELECT run_id, source, org_id, project_id FROM summary")
            for run in runs.fetchall():
                self._summarize_run(RunKey(*run))
                self._connection.execute(_COUNT, (*run, *run))

    def _prune(self, now: float) -> None:
        """Delete old runs, once an hour; their series stay, so that a late duplicate is one."""
        if self._keep is None or not self._is_believed(now) or now - self._pruned <= _HOUR:
            return
        before = now - self._keep
        old = self._connection.execute(_OLD_RUNS, (before, _AT_ONCE)).fetchall()
        for run in old:
            for table in ("event", "progress", "ending", "report", "summary"):
                self._connection.execute(f"DELETE FROM {table} WHERE {_OF_RUN}", run)
        if len(old) < _AT_ONCE:
            self._pruned = now
            self._connection.execute(_OLD_CHANGES, (before,))

    def _is_believed(self, now: float) -> bool:
        """Return whether the wall clock has gone like the other one for an hour, or since the file was opened."""
        monotonic = self._monotonic()
        epoch, self._epoch = self._epoch, now - monotonic
        if epoch is not None and abs(self._epoch - epoch) > _SET_SECONDS:
            self._believed = monotonic + _HOUR
        return monotonic >= self._believed


def _presence(payload: dict[str, Any]) -> tuple[str, str]:
    """Return the status of an engine, and which process it is: a birth names it, a will does not."""
    host, pid = payload.get("host"), payload.get("pid")
    return str(payload.get("status") or ""), f"{host} {pid}" if host and pid else ""


def _run_of(message: Received) -> RunKey:
    event = message.event
    return RunKey(event.run_id, event.source, event.org_id, event.project_id)


def _note(heard: dict[RunKey, tuple[float, float, bool]], message: Received) -> None:
    """Note when a run was heard of, first and last, and whether it has begun or ended meanwhile."""
    run = _run_of(message)
    first, last, turned = heard.get(run, (message.at, message.at, False))
    turned = turned or message.event.type == "LifecycleEvent"
    heard[run] = (min(first, message.at), max(last, message.at), turned)


def _summary(rows: Iterable[tuple[str, float, str]]) -> tuple[Any, ...]:
    """Return name, status, begin, end, error and number of attempts, from the starts and ends of a run in their order."""
    name, status, error = "", "", ""
    began: float | None = None
    ended: float | None = None
    tokens = set[str]()
    for token, received, payload in rows:
        data = json.loads(payload)
        body = data["body"]
        seconds = seconds_of(data.get("ts"), received)
        if token not in tokens and data.get("attempt", 1) == 1:
            # another run of this id
            tokens, began, name = set(), None, ""
        tokens.add(token)
        if body.get("event") == "ENGINE_STARTED":
            began = seconds if began is None else began
            name, status, ended, error = str(body.get("name") or name), "Running", None, ""
        else:
            status, ended, error = str(body.get("status") or ""), seconds, str(body.get("error") or "")
    return name, status, began, ended, error, max(1, len(tokens))
