"""State that an engine reports for watchers: its runs, their graphs, a summary and its host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cascade.interfaces import Clock, Connector, SupportsBroker, SupportsStatistics, supports
from cascade.interfaces.events import Tag
from cascade.runtime._admission.waits import Wait
from cascade.runtime._control.active_run import ActiveRun
from cascade.runtime._control.host_report import host_report
from cascade.runtime._control.registers import Registers
from cascade.runtime._control.run_history import RunHistory
from cascade.runtime._control.run_table import RunTable
from cascade.runtime._control.runs_report import RowMaker, runs_report
from cascade.runtime._control.state_reports import graph_report, summary_report
from cascade.transport.outbox import SUPERSEDED


class WatchedState:
    """Makes the bodies of the reports when they are due; nothing is computed before.

    :param connector: its counts stand in the reports.
    :param waits: returns how many tasks of a run wait for each reason now.
    :param paused: returns whether a pause covers everything.
    :param clean: prepares free text to leave the process.
    :param names: organisation and project.
    :param retained: whether the broker keeps the reports.
    :param on_change: called after an event of a task that the reports would show.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        connector: Connector | None = None,
        history: RunHistory | None = None,
        waits: Callable[[ActiveRun], Mapping[Wait, int]] = lambda run: {},
        paused: Callable[[], bool] = lambda: False,
        clean: Callable[[str], str] = str,
        names: Mapping[str, str] | None = None,
        retained: bool = False,
        on_change: Callable[[], object] = lambda: None,
    ) -> None:
        self.runs = RunTable(history, on_change=on_change)
        self.host_report = connector is not None
        """Whether the host is reported."""
        self.labels: dict[str, Tag] = {}
        """What users have put on the engines."""
        self._clock = clock
        self._connector = connector
        self._waits = waits
        self._paused = paused
        self._clean = clean
        self._names = dict(names or {})
        self._graphs: object = None if retained else ()  # None: replace what an earlier process has left

    def lost(self) -> int:
        """Return how many messages the connector has dropped for good; a report whose next one came is not lost."""
        if self._connector is None or not supports(self._connector, SupportsStatistics):
            return 0
        dropped = self._connector.statistics().dropped
        return sum(count for why, count in dropped.items() if why != SUPERSEDED)

    def _carry_over(self) -> None:
        connector = self._connector
        earlier = connector.earlier_runs if supports(connector, SupportsBroker) else None
        if earlier:
            self.runs.history.carry_over(earlier)

    def runs_body(self, head: Mapping[str, Any], registers: Registers) -> dict[str, Any]:
        """Return the body of the report of runs."""

        def id_of(topic: str) -> str:
            register = registers.get(topic)
            return register.entry().id if register is not None else ""

        self._carry_over()
        now = self._clock.now()
        rows = RowMaker(now, clean=self._clean, waits=self._waits, ids=id_of, lost=self.lost())
        active = self.runs.active()
        return runs_report(
            active,
            self.runs.history,
            rows,
            head={**head, **self._names},
            count=len(active),
            paused=self._paused(),
            now=now,
        )

    def summary_body(self, *, up: bool) -> dict[str, Any]:
        """Return the body of the summary."""
        return summary_report(self.runs, up=up, paused=self._paused(), now=self._clock.now())

    def graphs_changed(self) -> bool:
        """Return whether the graphs have changed since this was last asked; one without a node is not shown yet."""
        before = self._graphs
        revisions = ((run.run_id, run.facts.graph.rev) for run in self.runs.active())
        self._graphs = tuple((run_id, rev) for run_id, rev in revisions if rev)
        return before != self._graphs

    def graph_body(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of the report of graphs."""
        return graph_report(self.runs.active(), head=head, now=self._clock.now())

    def host_body(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of the report of the host."""
        assert self._connector is not None
        return host_report(
            self._connector, head=head, labels=self.labels, clean=self._clean, now=self._clock.now()
        )
