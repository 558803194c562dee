"""Runs that an earlier process of this name has left in its report. No I/O."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cascade.interfaces.events import RunStatus
from cascade.interfaces.topics import state_topic
from cascade.interfaces.wire import UndecodableMessageError, decode_payload

MAX_ROWS = 10
"""Rows that are carried over."""
MAX_BYTES = 128 * 1024
"""A longer report is not read: engines send at most 64 KiB."""
_TIMES = ("started", "ended")
_TEXTS = ("run_id", "target", "status", *_TIMES)


class EarlierRuns:
    """Keeps the rows of runs that have ended of the retained report that the own topic holds when a process connects.

    The process replaces that report, and these rows must outlive it. They are carried as they stand: the engine that uses
    them reads them with ``cascade.wire``.
    """

    def __init__(self, source: str) -> None:
        self.topic = state_topic(source, "runs")
        self.rows: list[dict[str, Any]] | None = None
        """Rows of runs that have ended, the latest first; None before the report has arrived."""
        self._source = source

    def receive(self, payload: bytes, *, retained: bool, session: str | None) -> bool:
        """Take in a message on the own topic; return whether nothing more is to be expected.

        :param session: of the own presence: a report with it is not of an earlier process.
        """
        report = _decode(payload)
        if not report or report.get("source", self._source) != self._source:
            return retained  # the broker sends one retained message for a topic
        is_own = report.get("presence") == session
        if retained and not is_own:
            recent = report.get("recent")
            self.rows = [*filter(_is_row, recent if isinstance(recent, list) else [])][:MAX_ROWS]
        return retained or is_own


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
    return row["status"] in set(RunStatus)
