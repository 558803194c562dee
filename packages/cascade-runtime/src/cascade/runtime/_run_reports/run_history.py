"""The runs of one source that have ended, over its processes as far as their reports tell of them. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from cascade.interfaces import RunStatus, TaskState
from cascade.interfaces.wire import FAILED_STATUSES, LOST, MAX_RECENT, row_to_drop, timestamp
from cascade.runtime._run_reports.active_run import LONGEST, MAX_FAILURES
from cascade.runtime._run_reports.ended_runs import MAX_INTERRUPTED, MAX_NAMES
from cascade.wire.ended import EndedRun
from cascade.wire.message import encoded_size
from cascade.wire.reports import RecentRun

_LONGEST_ERROR = 500
_STATUSES = frozenset(RunStatus) | {LOST}
_STATES = frozenset(TaskState)


class RunHistory:
    """The runs of one source that have ended. It lives as long as the process, like token buckets."""

    def __init__(self) -> None:
        self.recent: list[RecentRun] = []
        """Rows of the report, the latest first."""
        self.sizes: list[int] = []
        """Bytes of each row."""
        self.recent_more = 0
        """Runs of this process that are not among those."""
        self.whole: list[EndedRun] = []
        """The run that ended last, and behind it the last one that failed, if that is another one."""
        self.whole_revision = 0
        """Goes up when they change."""
        self.completed = 0
        """Tasks of runs that ended in this process; ``failed`` likewise."""
        self.failed = 0
        self.last_status = ""
        self._has_carried = False
        self._carried_whole = 0
        self._tokens: set[str] = set()
        """Of the runs of this process."""

    def began(self, token: str) -> None:
        """Note that a run of this process began: it is not lost."""
        self._tokens.add(token)

    def ended(self, row: EndedRun) -> None:
        """Add a run that has ended; it takes the place of an earlier attempt, which failed or was lost."""
        self._forget(row.run_id)
        self._insert(0, RecentRun(**{key: getattr(row, key) for key in RecentRun.__struct_fields__}))
        self._keep_whole([row, *(each for each in self.whole if each.run_id != row.run_id)])
        self.completed += row.counts.get(TaskState.COMPLETED, 0)
        self.failed += row.counts.get(TaskState.FAILED, 0)
        self.last_status = row.status

    def carry_over(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add runs of an earlier process with this name, once; anyone may have written the rows."""
        if self._has_carried:
            return
        self._has_carried = True
        known = {row.run_id for row in self.recent}
        for each in rows:
            row = _carried(RecentRun, each)
            if row is not None and row.run_id not in known and not self._is_own(row):
                known.add(row.run_id)
                self._insert(len(self.recent), row)
        if not self.last_status and self.recent:
            self.last_status = self.recent[0].status

    def carry_over_whole(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Likewise for those that are reported whole: each row of a list that may have grown since the last call."""
        new, self._carried_whole = rows[self._carried_whole :], len(rows)
        found = (_carried(EndedRun, each) for each in new)
        own = {row.run_id for row in self.recent if self._is_own(row)}
        earlier = [
            _bounded(row)
            for row in found
            if row is not None and not self._is_own(row) and row.run_id not in own
        ]
        if earlier:
            runs = [*self.whole, *earlier]
            self._keep_whole(sorted(runs, key=lambda row: (self._is_own(row), row.ended), reverse=True))

    def learn(self, rows: Iterable[Mapping[str, Any]], whole: Iterable[Mapping[str, Any]]) -> None:
        """Add runs as their own process has kept them while it could not report; of two rows of a run, the later end counts.

        So a run takes the place of what the broker's last report of it led to: that it was lost.
        """
        for row in filter(None, (_carried(RecentRun, each) for each in rows)):
            known = next((each for each in self.recent if each.run_id == row.run_id), None)
            if known is None or known.ended < row.ended:
                self._forget(row.run_id)
                later = sum(each.ended > row.ended for each in self.recent)
                self._insert(later, row)
                self._tokens.add(row.token)
        ends = {row.run_id: row.ended for row in self.recent}
        # the process may have kept that a run ended well without keeping it whole
        runs = {run.run_id: run for run in self.whole if run.ended >= ends.get(run.run_id, "")}
        for run in filter(None, (_carried(EndedRun, each) for each in whole)):
            if run.run_id not in runs or runs[run.run_id].ended < run.ended:
                runs[run.run_id] = _bounded(run)
        if runs:
            self._keep_whole(sorted(runs.values(), key=lambda run: run.ended, reverse=True))
        if self.last_status in ("", LOST) and self.recent:
            self.last_status = self.recent[0].status

    def _is_own(self, row: RecentRun) -> bool:
        return bool(row.token) and row.token in self._tokens

    def _forget(self, run_id: str) -> None:
        for at in reversed([at for at, row in enumerate(self.recent) if row.run_id == run_id]):
            del self.recent[at], self.sizes[at]

    def _insert(self, at: int, row: RecentRun) -> None:
        self.recent.insert(at, row)
        self.sizes.insert(at, encoded_size(row) + 2)
        if len(self.recent) > MAX_RECENT:
            dropped = row_to_drop([each.status for each in self.recent])
            del self.recent[dropped], self.sizes[dropped]
            self.recent_more += at == 0

    def _keep_whole(self, runs: list[EndedRun]) -> None:
        """Keep of runs, the latest first, the first one and the first that failed."""
        failed = next((run for run in runs if run.status in FAILED_STATUSES), None)
        self.whole = [runs[0]] if failed in (None, runs[0]) else [runs[0], failed]
        self.whole_revision += 1


def _carried(kind: type[Any], data: Mapping[str, Any]) -> Any:
    """Return a row of an earlier report as the next one can have it; None if it is not one."""
    # only a process with a name has earlier runs
    from cascade.wire.reading import bounded, read_row, seconds

    row = read_row(kind, bounded(dict(data)))
    if row is None or row.status not in _STATUSES:
        return None
    started, ended = seconds(row.started), seconds(row.ended)
    if started is None or ended is None:
        return None
    return replace(
        row,
        run_id=row.run_id[:LONGEST],
        token=row.token[:LONGEST],
        target=row.target[:LONGEST],
        name=row.name[:LONGEST],
        error=row.error[:_LONGEST_ERROR],
        by=row.by[:LONGEST],
        started=timestamp(started),
        ended=timestamp(ended),
        counts={state: count for state, count in row.counts.items() if state in _STATES},
    )


def _bounded(run: EndedRun) -> EndedRun:
    """Return a run of an earlier process with no more rows than this one reports."""
    names = list(run.tasks)[:MAX_NAMES]
    return replace(
        run,
        tasks={name[:LONGEST]: run.tasks[name] for name in names},
        failures=run.failures[:MAX_FAILURES],
        interrupted=run.interrupted[:MAX_INTERRUPTED],
    )
