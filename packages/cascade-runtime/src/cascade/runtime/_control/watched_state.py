"""State that an engine reports for watchers: its runs, their graphs, a summary and its host."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from cascade.interfaces import Clock, Connector, SupportsBroker, SupportsStatistics, supports
from cascade.interfaces.distribution import VERSION
from cascade.interfaces.events import Tag
from cascade.interfaces.tags import clean_tags
from cascade.interfaces.wire import timestamp
from cascade.runtime._admission.wait_reasons import Wait
from cascade.runtime._registers.registers import Registers
from cascade.runtime._run_reports.active_run import ActiveRun
from cascade.runtime._run_reports.ended_runs import ended_report
from cascade.runtime._run_reports.report_bodies import (
    RowMaker,
    Texts,
    graph_report,
    runs_report,
    summary_report,
)
from cascade.runtime._run_reports.reported_runs import RunTable
from cascade.runtime._run_reports.run_history import RunHistory
from cascade.transport.earlier_runs import EarlierRuns
from cascade.transport.outbox import SUPERSEDED
from cascade.wire.message import to_wire
from cascade.wire.reports import HostReport, Memory

INTERVAL = 60.0
"""Seconds between two reports."""


def host_report(
    connector: Connector,
    *,
    head: Mapping[str, Any],
    labels: Mapping[str, Tag],
    clean: Callable[[str], str],
    now: float,
) -> dict[str, Any]:
    """Return the body of the report. It has no address, user name, path or command line."""
    report = HostReport(
        **head,
        **_machine(),
        load1=_load(),
        rss=_resident(),
        memory=_memory(),
        link=_link(connector),
        labels=clean_tags(labels, clean),
        ts=timestamp(now),
    )
    return to_wire(report)


@lru_cache(maxsize=1)
def _machine() -> dict[str, Any]:
    import platform  # slow to import, and only engines with a broker need it

    return {
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cascade": VERSION,
        "cpus": os.cpu_count(),
    }


def _load() -> float | None:
    with suppress(OSError, AttributeError):  # not on Windows
        return round(os.getloadavg()[0], 2)
    return None


def _resident() -> int | None:
    """Return the bytes of memory that the process has now, or the most that it had."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        pages = int(_lines("/proc/self/statm")[0].split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    with suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return None


def _memory() -> Memory:
    """Return the bytes of the computer's memory."""
    total = available = None
    with suppress(OSError, ValueError, AttributeError):
        page = os.sysconf("SC_PAGE_SIZE")
        total = os.sysconf("SC_PHYS_PAGES") * page
        available = os.sysconf("SC_AVPHYS_PAGES") * page
    # counts what the system would give back, too
    with suppress(OSError, ValueError, IndexError):
        lines = _lines("/proc/meminfo")
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        available = int(kilobytes) * 1024
    return Memory(total=total, available=available)


def _lines(path: str) -> list[str]:
    # pathlib takes longer to import than the whole report to make
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.readlines()


def _link(connector: Connector) -> dict[str, int]:
    if not supports(connector, SupportsStatistics):
        return {}
    counts = connector.statistics()
    lost = sum(count for why, count in counts.dropped.items() if why != SUPERSEDED)
    names = ("connections", "accepted", "sent", "pending", "sanitized", "received", "delivered", "window")
    found = {name: getattr(counts, name) for name in names}
    return found | {"dropped": lost, "discarded": sum(counts.discarded.values())}


class WatchedState:
    """Makes the bodies of the reports when they are due; nothing is computed before.

    :param connector: its counts stand in the reports.
    :param waits: returns how many tasks of a run wait for each reason now.
    :param texts: returns the reasons that are closed gates, in words.
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
        texts: Texts = lambda run, waits: {},
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
        self._texts = texts
        self._paused = paused
        self._clean = clean
        self._names = dict(names or {})
        # None: replace what an earlier process has left
        self._graphs: object = None if retained else ()
        # an earlier connection of this process has reported them
        self._ends_shown = self.runs.history.whole_revision

    def lost(self) -> int:
        """Return how many messages the connector has dropped for good; a report whose next one came is not lost."""
        if self._connector is None or not supports(self._connector, SupportsStatistics):
            return 0
        dropped = self._connector.statistics().dropped
        return sum(count for why, count in dropped.items() if why != SUPERSEDED)

    def _carry_over(self) -> None:
        connector = self._connector
        if not supports(connector, SupportsBroker):
            return
        history = self.runs.history
        if recent := connector.earlier_runs:
            history.carry_over(recent)
        if whole := connector.earlier_ends:
            history.carry_over_whole(whole)

    def runs_body(self, head: Mapping[str, Any], registers: Registers) -> dict[str, Any]:
        """Return the body of the report of runs."""

        def id_of(topic: str) -> str:
            register = registers.get(topic)
            return register.entry().id if register is not None else ""

        self._carry_over()
        now = self._clock.now()
        paused = self._paused()
        rows = RowMaker(
            now,
            clean=self._clean,
            waits=self._waits,
            texts=self._texts,
            ids=id_of,
            lost=self.lost(),
            paused=paused,
        )
        active = self.runs.active()
        return runs_report(
            active,
            self.runs.history,
            rows,
            head={**head, **self._names},
            count=len(active),
            paused=paused,
            now=now,
        )

    def summary_body(self, *, up: bool) -> dict[str, Any]:
        """Return the body of the summary."""
        now = self._clock.now()
        return summary_report(self.runs, up=up, paused=self._paused(), now=now, waits=self._waits)

    def graphs_changed(self) -> bool:
        """Return whether the graphs have changed since this was last asked; one without a node is not shown yet."""
        before = self._graphs
        revisions = ((run.run_id, run.facts.graph.rev) for run in self.runs.active())
        self._graphs = tuple((run_id, rev) for run_id, rev in revisions if rev)
        return before != self._graphs

    def graph_body(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of the report of graphs."""
        return graph_report(self.runs.active(), head=head, now=self._clock.now())

    def ends_changed(self) -> bool:
        """Return whether the runs that are reported whole have changed since this was last asked."""
        before, self._ends_shown = self._ends_shown, self.runs.history.whole_revision
        return before != self._ends_shown

    def ended_body(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of the report of the latest ends."""
        return ended_report(self.runs.history.whole, head=head, now=self._clock.now())

    def learn(self, earlier: EarlierRuns) -> None:
        """Report runs as an earlier process of this name has kept them for the time when it can report."""
        self.runs.history.learn(earlier.rows or (), earlier.ends)
        self.runs.touch()

    def host_body(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of the report of the host."""
        assert self._connector is not None
        return host_report(
            self._connector, head=head, labels=self.labels, clean=self._clean, now=self._clock.now()
        )
