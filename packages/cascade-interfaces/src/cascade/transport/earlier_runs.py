"""Runs that an earlier process of this name has left in its report. No I/O."""

from __future__ import annotations

from typing import Any

from cascade.interfaces.topics import state_topic


class EarlierRuns:
    """Reads the retained report of runs that the own topic holds when a process connects.

    The process replaces that report; what it says of runs that have ended must outlive it.
    """

    def __init__(self, source: str) -> None:
        self.topic = state_topic(source, "runs")
        self.rows: list[dict[str, Any]] | None = None
        """Rows of runs that have ended, the latest first; None before the report has arrived."""

    def receive(self, payload: bytes, *, retained: bool, session: str | None) -> bool:
        """Take in a message on the own topic; return whether nothing more is to be expected.

        :param session: of the own presence: a report with it is not of an earlier process.
        """
        from cascade.interfaces.wire.read import RunsReport, parse_report, recent_rows  # only names need it

        report = parse_report(self.topic, payload)
        if not isinstance(report, RunsReport):
            return retained  # the broker sends one retained message for a topic
        if retained and report.presence != session:
            self.rows = recent_rows(report)
        return retained or report.presence == session
