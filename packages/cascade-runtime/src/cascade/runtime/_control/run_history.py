"""History of the runs that have ended: how the latest ended, and the tasks of all of them. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from cascade.interfaces import Connector
from cascade.runtime._control.by_broker import ByBroker
from cascade.runtime._control.register_table import encoded_size

MAX_RECENT = 10
"""Runs that have ended and are reported."""


class RunHistory:
    """The runs of one source that have ended. It lives as long as the process, like token buckets."""

    def __init__(self) -> None:
        self.recent: deque[dict[str, Any]] = deque(maxlen=MAX_RECENT)
        """Rows of the report, the latest first."""
        self.sizes: deque[int] = deque(maxlen=MAX_RECENT)
        """Bytes of each row."""
        self.recent_more = 0
        """Runs of this process that ended before those."""
        self.completed = 0
        """Tasks of runs that ended in this process; ``failed`` likewise."""
        self.failed = 0
        self.last_status = ""
        self._carried = False

    def ended(self, row: dict[str, Any], *, completed: int, failed: int) -> None:
        """Add a run that has ended."""
        self.recent_more += len(self.recent) == MAX_RECENT
        self.recent.appendleft(row)
        self.sizes.appendleft(encoded_size(row) + 2)
        self.completed += completed
        self.failed += failed
        self.last_status = row["status"]

    def carry_over(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add runs of an earlier process with this name, once."""
        if self._carried:
            return
        self._carried = True
        known = {(row["run_id"], row["ended"]) for row in self.recent}
        found = [dict(row) for row in rows if (row["run_id"], row["ended"]) not in known]
        for row in found[: MAX_RECENT - len(self.recent)]:
            self.recent.append(row)
            self.sizes.append(encoded_size(row) + 2)
        if not self.last_status and self.recent:
            self.last_status = self.recent[0]["status"]


_HISTORIES = ByBroker(RunHistory)


def history_of(connector: Connector, *, project: str, source: str) -> RunHistory:
    """Return the history that all connections to this broker under this name share."""
    return _HISTORIES.get(connector, project=project, source=source)
