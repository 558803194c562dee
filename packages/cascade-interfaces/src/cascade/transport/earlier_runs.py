"""Runs of an earlier process of the same name, from the reports that it has left on the broker. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cascade.interfaces.events import RunStatus
from cascade.interfaces.topics import state_topic
from cascade.interfaces.wire import LOST, MAX_RECENT, UndecodableMessageError, decode_payload, row_to_drop

MAX_BYTES = 128 * 1024
"""A longer report is not read: engines send at most 64 KiB."""
MAX_LOST = 20
"""Runs of one process that can be lost."""
_TIMES = ("started", "ended")
_TEXTS = ("run_id", "target", "status", *_TIMES)
_OF_ROW = (
    "run_id",
    "token",
    "target",
    "name",
    "tags",
    "started",
    "attempt",
    "counts",
    "recorded",
    "known",
)
_OF_RUN = ("tasks", "tasks_more")
_STATUSES = {*RunStatus, LOST}


class EarlierRuns:
    """Keeps what the own topics hold of runs when a process connects: those that ended, and those that ran when it died.

    The process replaces those reports, and these rows must outlive them. They are carried as they stand: the engine that
    uses them reads them with ``cascade.wire``.
    """

    def __init__(self, source: str) -> None:
        self.runs_topic = state_topic(source, "runs")
        self.ended_topic = state_topic(source, "ended")
        self.rows: list[dict[str, Any]] | None = None
        """Rows of runs that have ended, the latest first; None before the report has arrived."""
        self.ends: list[dict[str, Any]] = []
        """Runs that are reported whole, in the order in which they came to be known."""
        self.contested_in = ""
        """The session in which that process had reported that another one uses its name; its clock may be another, so the time says nothing."""
        self._source = source

    def receive(self, topic: str, payload: bytes, *, retained: bool, session: str | None) -> bool:
        """Take in a message on an own topic; return whether nothing more is to be expected there.

        :param session: of the own presence: a report with it is not of an earlier process.
        """
        report = self._report(payload)
        is_own = bool(report) and report.get("presence") == session
        if retained and not is_own:
            self._take(topic, report)
        # the broker sends one retained message for a topic
        return retained or is_own

    def take_all(self, reports: Mapping[str, bytes]) -> None:
        """Take in what an earlier process has left elsewhere than on the broker, by topic."""
        for topic in {self.runs_topic, self.ended_topic}.intersection(reports):
            self._take(topic, self._report(reports[topic]))

    def _report(self, payload: bytes) -> dict[str, Any]:
        report = _decode(payload)
        return report if report.get("source", self._source) == self._source else {}

    def _take(self, topic: str, report: Mapping[str, Any]) -> None:
        if not report:
            return
        if topic == self.ended_topic:
            self.ends += filter(_is_row, _list(report, "runs"))
        else:
            self._take_runs(report)

    def _take_runs(self, report: Mapping[str, Any]) -> None:
        self.contested_in = str(report.get("presence")) if report.get("contested") is True else ""
        # one that is contested may belong to a process that lives
        active = [] if self.contested_in else _list(report, "runs")[:MAX_LOST]
        lost = [row for row in (_lost(each, report) for each in active) if _is_row(row)]
        self.ends += lost
        rows = [{key: row[key] for key in row if key not in _WHOLE} for row in lost]
        rows += filter(_is_row, _list(report, "recent")[:MAX_RECENT])
        while len(rows) > MAX_RECENT:
            del rows[row_to_drop([row["status"] for row in rows])]
        self.rows = rows


_WHOLE = frozenset({*_OF_RUN, "failures", "failures_more", "interrupted", "interrupted_more"})


def _lost(row: object, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a run that a process listed as active before it died: it ended with the process's last report."""
    if not isinstance(row, dict):
        return {}
    running = [each for each in _list(row, "running") if isinstance(each, dict)]
    more = row.get("running_more")
    number = len(running) + (more if isinstance(more, int) else 0)
    counts = row.get("counts")
    failed = counts.get("FAILED", 0) if isinstance(counts, dict) else 0
    tasks = "no task" if not number else "1 task" if number == 1 else f"{number} tasks"
    return {
        **{key: row[key] for key in (*_OF_ROW, *_OF_RUN) if key in row},
        "status": LOST,
        "error": f"its process died while {tasks} ran",
        "ended": report.get("ts"),
        "duration_ms": None,
        "failures": [],
        "failures_more": failed,
        "interrupted": [
            {key: each[key] for key in ("task_id", "task_name", "since") if key in each} for each in running
        ],
        "interrupted_more": number - len(running),
    }


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    found = data.get(key)
    return found if isinstance(found, list) else []


def _decode(payload: bytes) -> dict[str, Any]:
    try:
        return decode_payload(payload) if len(payload) <= MAX_BYTES else {}
    except UndecodableMessageError:
        return {}


def _is_row(row: object) -> bool:
    """Return whether a row tells how which run ended, and when; its reader checks the rest."""
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) and row[key] for key in _TEXTS):
        return False
    try:
        for key in _TIMES:
            datetime.fromisoformat(row[key])
    except ValueError:
        return False
    return row["status"] in _STATUSES
