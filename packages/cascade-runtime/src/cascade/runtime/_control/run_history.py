"""History of the runs that have ended: how the latest ended, and the tasks of all of them. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from cascade.interfaces import Connector, RunStatus, TaskState
from cascade.interfaces.wire import timestamp
from cascade.runtime._control.by_broker import ByBroker
from cascade.runtime._control.register_table import encoded_size
from cascade.wire.reports import RecentRun

MAX_RECENT = 10
"""Runs that have ended and are reported."""
_LONGEST = 200  # characters of a name
_LONGEST_ERROR = 500
_STATUSES = frozenset(RunStatus)
_STATES = frozenset(TaskState)


class RunHistory:
    """The runs of one source that have ended. It lives as long as the process, like token buckets."""

    def __init__(self) -> None:
        self.recent: deque[RecentRun] = deque(maxlen=MAX_RECENT)
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

    def ended(self, row: RecentRun, *, completed: int, failed: int) -> None:
        """Add a run that has ended."""
        self.recent_more += len(self.recent) == MAX_RECENT
        self.recent.appendleft(row)
        self.sizes.appendleft(encoded_size(row) + 2)
        self.completed += completed
        self.failed += failed
        self.last_status = row.status

    def carry_over(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add runs of an earlier process with this name, once; anyone may have written the rows."""
        if self._carried:
            return
        self._carried = True
        known = {(row.run_id, row.ended) for row in self.recent}
        carried = [row for each in rows if (row := _carried(each)) is not None]
        found = [row for row in carried if (row.run_id, row.ended) not in known]
        for row in found[: MAX_RECENT - len(self.recent)]:
            self.recent.append(row)
            self.sizes.append(encoded_size(row) + 2)
        if not self.last_status and self.recent:
            self.last_status = self.recent[0].status


def _carried(data: Mapping[str, Any]) -> RecentRun | None:
    """Return a row of an earlier report as the next one can have it; None if it is not one."""
    from cascade.wire.reading import bounded, read_row, seconds  # only a process with a name has earlier runs

    row: RecentRun | None = read_row(RecentRun, bounded(dict(data)))
    if row is None or row.status not in _STATUSES:
        return None
    started, ended = seconds(row.started), seconds(row.ended)
    if started is None or ended is None:
        return None
    return replace(
        row,
        run_id=row.run_id[:_LONGEST],
        target=row.target[:_LONGEST],
        name=row.name[:_LONGEST],
        error=row.error[:_LONGEST_ERROR],
        started=timestamp(started),
        ended=timestamp(ended),
        counts={state: count for state, count in row.counts.items() if state in _STATES},
    )


_HISTORIES = ByBroker(RunHistory)


def history_of(connector: Connector, *, project: str, source: str) -> RunHistory:
    """Return the history that all connections to this broker under this name share."""
    return _HISTORIES.get(connector, project=project, source=source)
