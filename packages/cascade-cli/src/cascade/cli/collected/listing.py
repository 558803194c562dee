"""The runs in a collector's file as pages of a list, newest first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cascade.cli.collected.file import OF_LATEST_USE, CollectedFile
from cascade.cli.collected.reading import Chunks, Steps

PAGE = 100
"""Runs of one page."""
LOST = "Lost"
RUNNING = "Running"

_KEY = "began, name, status, run_id, source, org_id, project_id"
_ORDER = "ORDER BY " + ", ".join(f"{each} DESC" for each in _KEY.split(", "))
_CHUNK = f"SELECT {_KEY} FROM summary WHERE began >= ? AND ({_KEY}) < (?, ?, ?, ?, ?, ?, ?) {_ORDER} LIMIT ?"
_LAST = f"{_CHUNK} OFFSET ?"
_MATCHING = f"SELECT * FROM ({_CHUNK}) WHERE {{}}"
_ONE = """
SELECT s.name, s.status, s.began, s.ended, s.error, s.attempts, s.latest, s.counts, v.status = 'Lost' AND s.status = 'Running',
    l.token, json_extract(l.payload, '$.body.target'), e.token, e.payload, r.token, r.payload
FROM summary s JOIN run v USING (run_id, source, org_id, project_id)
LEFT JOIN event l ON l.rowid = (
    SELECT rowid FROM event WHERE type = 'LifecycleEvent' AND run_id = s.run_id AND source = s.source AND org_id = s.org_id
        AND project_id = s.project_id ORDER BY seq = 0 DESC, received DESC LIMIT 1
)
LEFT JOIN ending e USING (run_id, source, org_id, project_id) LEFT JOIN report r USING (run_id, source, org_id, project_id)
WHERE s.run_id = ? AND s.source = ? AND s.org_id = ? AND s.project_id = ?
"""
_FIND = (
    "SELECT run_id, source, org_id, project_id FROM summary WHERE run_id = ?{} ORDER BY began DESC LIMIT 1"
)
_COUNTS = f"""
SELECT state, count(*) FROM (
    SELECT json_extract(payload, '$.body.state') AS state, max(attempt * 1e9 + coalesce(seq, 0)) FROM event
    WHERE run_id = ? AND source = ? AND org_id = ? AND project_id = ? AND kind = 'events' AND type = 'TaskStateEvent'
        AND {OF_LATEST_USE}
    GROUP BY json_extract(payload, '$.body.task_id')
) GROUP BY state
"""
_NEWEST = (1e300, "", "", "", "", "", "")
"""In front of every run."""
Key = tuple[float, str, str, str, str, str, str]
"""Where a page ends: the next one begins behind it."""


class RunKey(NamedTuple):
    """One run of one engine, in all its attempts."""

    run_id: str
    source: str
    org_id: str
    project_id: str


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are listed; a text is part of a name or an id, in any case of ASCII."""

    name: str = ""
    engine: str = ""
    status: str = ""
    since: float = 0.0
    """Only runs that began from this time on, in seconds since the epoch."""
    until: float | None = None

    def condition(self) -> tuple[str, list[Any]]:
        """Return it as SQL over the columns of the list, without ``since``."""
        found: list[tuple[str, list[Any]]] = []
        if self.name:
            part = _containing(self.name)
            found.append(("(name LIKE ? ESCAPE '\\' OR run_id LIKE ? ESCAPE '\\')", [part, part]))
        if self.engine:
            found.append(("source LIKE ? ESCAPE '\\'", [_containing(self.engine)]))
        if self.status:
            # whether a run without an end goes on depends on its engine
            found.append(("status IN (?, ?)", [self.status, RUNNING if self.status == LOST else self.status]))
        if self.until is not None:
            found.append(("began < ?", [self.until]))
        return " AND ".join(each for each, _ in found) or "1", [
            each for _, values in found for each in values
        ]


class Page(NamedTuple):
    """Runs of a list."""

    rows: list[dict[str, Any]]
    """As an engine reports runs that have ended, with ``source``, ``org_id`` and ``project_id``."""
    behind: Key | None
    """Where the next page begins; None: there is none."""


def runs_page(
    file: CollectedFile, chosen: RunFilter, behind: Key | None = None, *, most: int = PAGE
) -> Steps[Page]:
    """Return a page of the runs that are chosen, the latest first.

    :param behind: what the page before says.
    """
    chunks, rows = Chunks(file), list[dict[str, Any]]()
    condition, values = chosen.condition()
    at: Key = behind or _NEWEST
    while True:
        start = (chosen.since, *at)
        found = chunks.read(_MATCHING.format(condition), lambda size, start=start: (*start, size, *values))  # type: ignore[misc]
        yield
        if found is None:
            continue
        for number, key in enumerate(found):
            if number % 20 == 19:
                yield
            row = run_row(file, RunKey(*key[3:]))
            if row is not None and (not chosen.status or row["status"] == chosen.status):
                rows.append(row)
            if len(rows) == most:
                return Page(rows, key)
        yield
        last = file.rows(_LAST, (*start, 1, chunks.size - 1))
        if not last:
            return Page(rows, None)
        at = last[0]
        chunks.grow()


def find_run(
    file: CollectedFile,
    run_id: str,
    source: str | None,
    org_id: str | None = None,
    project_id: str | None = None,
) -> RunKey | None:
    """Return the latest run with an id, of any engine where none is named; None if there is none."""
    names = {"source": source, "org_id": org_id, "project_id": project_id}
    given = {name: value for name, value in names.items() if value is not None}
    condition = "".join(f" AND {name} = ?" for name in given)
    found = file.rows(_FIND.format(condition), (run_id, *given.values()))
    return RunKey(*found[0]) if found else None


def run_row(file: CollectedFile, run: RunKey) -> dict[str, Any] | None:
    """Return one run as its engine reports how it ended, or as far as its events say; None if it is not in the file."""
    for (
        name,
        status,
        began,
        ended,
        error,
        attempts,
        latest,
        counts,
        is_gone,
        token,
        target,
        *reported,
    ) in file.rows(_ONE, run):
        row = {
            **run._asdict(),
            "token": "",
            "name": name,
            "target": target or "",
            "status": status or (RUNNING if ended is None else ""),
            "error": error or "",
            "started": iso(began),
            "ended": None if ended is None else iso(ended),
            "latest": iso(latest),
            "attempt": max(attempts, 1),
            "counts": json.loads(counts) if counts else dict(file.rows(_COUNTS, run)),
        }
        # the engine knows more than its events say
        return row | _reported(row, token, reported, is_gone=bool(is_gone))
    return None


def _reported(
    row: Mapping[str, Any], token: str | None, reported: list[str | None], *, is_gone: bool
) -> dict[str, Any]:
    """Return what the engine has reported of the latest attempt of a run: of its end, or last before the engine went."""
    end_token, end, last_token, last = reported
    if is_gone:
        if not last or last_token != token:
            return {"status": LOST}
        found = json.loads(last)
        kept = {key: found[key] for key in _OF_ACTIVE & found.keys()}
        running = {"interrupted": found.get("running", []), "interrupted_more": found.get("running_more", 0)}
        return {**kept, **running, "status": LOST, "token": token}
    if not end or end_token != token or row["status"] == RUNNING:
        return {}
    found = json.loads(end)
    return {**{key: found[key] for key in _REPORTED & found.keys()}, "token": token}


_OF_ACTIVE = {"target", "tags", "started", "counts", "known", "recorded"}
_OF_ENDED = {"status", "error", "by", "ended", "duration_ms", "interrupted", "interrupted_more"}
_REPORTED = _OF_ACTIVE | _OF_ENDED


def iso(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _containing(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
