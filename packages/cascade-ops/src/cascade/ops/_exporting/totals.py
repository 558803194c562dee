"""Totals of tasks and runs, from reports: what engines have counted, and never counted events. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from cascade.interfaces.events import ENDED_STATES
from cascade.wire import ActiveRun, RecentRun, RunsReport

OTHER = "other"
"""The task of what a report counts without a name, and of every name beyond ``MOST_NAMES``."""
MOST_NAMES = 1_000


class Names:
    """Task names that become labels: the first thousand; the others share one."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, name: str) -> str:
        """Return the label of a name."""
        if name in self._known:
            return name
        if len(self._known) >= MOST_NAMES:
            return OTHER
        self._known.add(name)
        return name


class SourceTotals:
    """What one engine has done, as far as its reports show it.

    A run that ended before the first report is history and does not count. Of the tasks that end between the
    last report of their run and its end, the reports give the number and not the names.
    """

    def __init__(self, names: Names) -> None:
        self.tasks: Counter[tuple[str, str]] = Counter()
        """By task and state."""
        self.runs: Counter[tuple[str, str]] = Counter()
        """By target and status."""
        self.lost = 0
        """Events that the engine has dropped for good."""
        self._names = names
        # by run: what of it is counted
        self._seen: dict[str, Counter[tuple[str, str]]] = {}
        self._lost: dict[str, int] = {}
        self._recent: set[tuple[str, str]] | None = None

    def take(self, report: RunsReport) -> None:
        """Add what a report shows in addition to the one before."""
        for row in report.runs:
            self._active(row)
        known, self._recent = self._recent, {(row.run_id, row.ended) for row in report.recent}
        for end in report.recent:
            if known is not None and (end.run_id, end.ended) not in known:
                self._ended(end)
        active = {row.run_id for row in report.runs}
        # a report that is cut does not show which runs are over
        if not report.more:
            self._seen = {run_id: seen for run_id, seen in self._seen.items() if run_id in active}
            self._lost = {run_id: lost for run_id, lost in self._lost.items() if run_id in active}

    def _active(self, row: ActiveRun) -> None:
        seen = self._seen.setdefault(row.run_id, Counter())
        for name, totals in row.tasks.items():
            for state in ENDED_STATES:
                self._raise(seen, (name, state), totals.counts.get(state, 0))
        before = self._lost.get(row.run_id, 0)
        self.lost += row.lost - before if row.lost >= before else row.lost
        self._lost[row.run_id] = row.lost

    def _raise(self, seen: Counter[tuple[str, str]], key: tuple[str, str], count: int) -> None:
        """Count up to ``count``; a lower one than before is that of a new attempt of the run."""
        more = count - seen[key] if count >= seen[key] else count
        seen[key] = count
        if more:
            self.tasks[self._names.label(key[0]), key[1]] += more

    def _ended(self, row: RecentRun) -> None:
        self.runs[self._names.label(row.target), row.status] += 1
        seen = self._seen.pop(row.run_id, Counter())
        for state, rest in _rest(row.counts, seen).items():
            self.tasks[OTHER, state] += rest


def _rest(counts: Mapping[str, int], seen: Counter[tuple[str, str]]) -> dict[str, int]:
    """Return by state what a run's end counts and its earlier reports did not."""
    named = Counter[str]()
    for (_, state), count in seen.items():
        named[state] += count
    return {state: rest for state in ENDED_STATES if (rest := counts.get(state, 0) - named[state]) > 0}
