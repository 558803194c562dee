"""Bodies of the reports for watchers: runs, graphs and the summary, cut to their bounds. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from cascade.interfaces.gates import is_gate
from cascade.interfaces.tags import clean_tags
from cascade.interfaces.wire import row_to_drop, timestamp
from cascade.runtime._admission.wait_reasons import Wait
from cascade.runtime._run_reports.active_run import LONGEST, ActiveRun
from cascade.runtime._run_reports.reported_runs import RunTable
from cascade.runtime._run_reports.run_history import RunHistory
from cascade.runtime._support.run_facts import GraphFacts
from cascade.wire import reports
from cascade.wire.message import encoded_size, to_wire
from cascade.wire.progress import Progress, progress_of, seconds_left
from cascade.wire.reports import GraphNode, GraphReport, RecentRun, RunGraph, RunsReport, Summary

MAX_BYTES = 64 * 1024
"""The most bytes of one report."""
MAX_RUNS = 500
_RECENT_BYTES = 16 * 1024
_ROOM = 128  # bytes for the counts of what was left out


class Detail(NamedTuple):
    """How much a report shows of each run."""

    tasks: int
    running: int
    waiting: int
    texts: bool
    """Whether tags of the run and messages of its tasks are there."""


DETAILS = (
    Detail(100, 32, 16, texts=True),
    Detail(30, 10, 8, texts=False),
    Detail(5, 3, 4, texts=False),
    Detail(0, 0, 0, texts=False),
)
"""The first for which all runs fit is taken; with the last one, runs are left out."""

Waits = Callable[[ActiveRun], Mapping[Wait, int]]
"""Returns how many tasks of a run wait for each reason now."""
Texts = Callable[[ActiveRun, Iterable[Wait]], Mapping[Wait, str]]
"""Returns those of a run's reasons that are closed gates, in words."""


class RowMaker:
    """Makes the rows of one report.

    :param clean: prepares free text to leave the process.
    :param waits: see :data:`Waits`.
    :param texts: see :data:`Texts`.
    :param ids: returns the id of a register by its topic.
    :param lost: messages that were dropped for good so far.
    :param paused: whether a pause covers all runs.
    """

    def __init__(
        self,
        now: float,
        *,
        clean: Callable[[str], str] = str,
        waits: Waits = lambda run: {},
        texts: Texts = lambda run, waits: {},
        ids: Callable[[str], str] = lambda topic: "",
        lost: int = 0,
        paused: bool = False,
    ) -> None:
        self._now = now
        self._clean = clean
        self._waits = waits
        self._texts = texts
        self._id_of = ids
        self._lost = lost
        self._paused = paused

    def rows(self, runs: Iterable[ActiveRun], room: int) -> list[reports.ActiveRun]:
        """Return rows that fit into ``room`` bytes together, with as much detail as fits for all of them."""
        some = list(islice(runs, MAX_RUNS))
        waits = [self._waits(run) for run in some]
        rows: list[reports.ActiveRun] = []
        for detail in DETAILS:
            rows, left = [], room
            for run, reasons in zip(some, waits, strict=True):
                row = self._row(run, reasons, detail)
                left -= encoded_size(row) + 2
                if left < 0:
                    break
                rows.append(row)
            if len(rows) == len(some):
                break
        return rows

    def _row(self, run: ActiveRun, waits: Mapping[Wait, int], detail: Detail) -> reports.ActiveRun:
        counts, graph = run.counts(), run.facts.graph
        known = run.all_known(counts)
        reasons = self._reasons(run, waits)
        names = run.names(detail.tasks)
        # until when is not known
        paused = self._paused or any(
            each.type == "pause" or each.why == "gate" or is_gate(each.type) for each in reasons
        )
        return reports.ActiveRun(
            run_id=run.run_id,
            token=run.token,
            target=self._clean(run.target)[:LONGEST],
            name=self._clean(run.name) if run.name else "",
            tags=clean_tags(run.tags, self._clean) if detail.texts else {},
            started=timestamp(run.started),
            attempt=run.attempt,
            counts=dict(counts),
            recorded=run.recorded,
            known=known,
            open=run.facts.open,
            eta_s=None if paused or run.facts.open else self._eta(run, counts, known),
            tasks={name[:LONGEST]: run.row(name) for name in names},
            running=[self._running(run, id_, detail) for id_ in islice(run.running, detail.running)],
            waiting=reasons[: detail.waiting],
            graph=reports.GraphRevision(
                rev=graph.rev, nodes=len(graph.names) if graph.folded else len(graph.calls)
            ),
            lost=max(self._lost - run.lost_before, 0),
            tasks_more=max(len(run.names()) - len(names), 0),
            running_more=max(len(run.running) - detail.running, 0),
            waiting_more=max(len(reasons) - detail.waiting, 0),
        )

    def _eta(self, run: ActiveRun, counts: Mapping[str, int], known: int) -> float | None:
        """Return the seconds until the run will end at its rate so far, if there is one."""
        left = seconds_left(counts, known=known, seconds=self._now - run.started)
        return None if left is None else round(left, 1)

    def _running(self, run: ActiveRun, task_id: str, detail: Detail) -> reports.RunningTask:
        began, progress = run.running[task_id], run.progress.get(task_id)
        texts = progress if detail.texts else None
        return reports.RunningTask(
            task_id=task_id,
            task_name=began.task_name[:LONGEST],
            since=timestamp(began.timestamp),
            done=progress.done if progress is not None else None,
            total=progress.total if progress is not None else UNSET,
            message=self._clean(texts.message) if texts is not None and texts.message else "",
            unit=self._clean(texts.unit) if texts is not None and texts.unit else "",
            paused=task_id in run.paused,
        )

    def _reasons(self, run: ActiveRun, waits: Mapping[Wait, int]) -> list[reports.Waiting]:
        """Return a row for each reason to wait, the one with most tasks first."""
        found = [(wait, n) for wait, n in waits.items() if n]
        texts = self._texts(run, [wait for wait, _ in found])
        rows = [
            self._reason(run, wait, n, texts.get(wait, ""))
            for wait, n in sorted(found, key=lambda each: -each[1])
        ]
        until = [at for at in run.facts.retries.values() if at > self._now]
        if until:
            rows.append(reports.Waiting(why="retry", n=len(until), until=timestamp(min(until))))
        run.since = {wait: run.since[wait] for wait, _ in found}
        return rows

    def _reason(self, run: ActiveRun, wait: Wait, n: int, text: str) -> reports.Waiting:
        since = timestamp(run.since.setdefault(wait, self._now))
        if wait.why == "constraint":
            topic, id_ = wait.name[:1_000], self._id_of(wait.name)
            return reports.Waiting(
                why=wait.why, topic=topic, type=wait.type, id=id_, n=n, since=since, text=self._clean(text)
            )
        return reports.Waiting(
            why=wait.why, name=wait.name[:LONGEST], n=n, since=since, text=self._clean(text)
        )


def runs_report(
    runs: Iterable[ActiveRun],
    history: RunHistory,
    rows: RowMaker,
    *,
    head: Mapping[str, Any],
    count: int,
    paused: bool,
    now: float,
) -> dict[str, Any]:
    """Return the body of ``cascade/state/{source}/runs``.

    At most :data:`MAX_BYTES`: details of runs are left out first, then runs, which are counted under ``more``.

    :param head: version, source, session and the like.
    :param count: how many runs there are.
    """
    recent, size = recent_rows(history)
    report = RunsReport(**head, runs=[], recent=[], paused=paused, ts=timestamp(now))
    room = MAX_BYTES - encoded_size(report) - size - _ROOM
    shown = rows.rows(runs, room)
    recent_more = history.recent_more + len(history.recent) - len(recent)
    more = count - len(shown)
    return to_wire(replace(report, runs=shown, more=more, recent=recent, recent_more=recent_more))


def recent_rows(history: RunHistory) -> tuple[list[RecentRun], int]:
    """Return the latest rows that fit, without their tags if they do not fit with them, and their bytes."""
    rows, sizes = list(history.recent), list(history.sizes)
    if sum(sizes) > _RECENT_BYTES:
        rows = [replace(row, tags={}) for row in rows]
        sizes = [encoded_size(row) + 2 for row in rows]
    while sum(sizes) > _RECENT_BYTES:
        dropped = row_to_drop([row.status for row in rows])
        del rows[dropped], sizes[dropped]
    return rows, sum(sizes)


def summary_report(
    runs: RunTable, *, up: bool, paused: bool, now: float, waits: Waits = lambda run: {}
) -> dict[str, Any]:
    """Return the body of ``cascade/state/{source}/summary``: scalars only.

    :param waits: see :data:`Waits`.
    """
    found = [_progress(run, waits(run)) for run in runs.active()]

    def total(word: str) -> int:
        return sum(each.tasks.get(word, 0) for each in found)

    return to_wire(
        Summary(
            up=int(up),
            runs=len(found),
            running=total("running"),
            waiting=total("waiting"),
            completed=runs.history.completed + total("completed"),
            failed=runs.history.failed + total("failed"),
            paused=paused,
            last_status=runs.history.last_status,
            ts=timestamp(now),
        )
    )


def _progress(run: ActiveRun, waits: Mapping[Wait, int]) -> Progress:
    """Return the numbers of a run as every screen shows them."""
    counts = run.counts()
    # the run's own counts know when the next attempt begins
    reasons = [("retry", counts.get("RETRYING", 0)), *((wait.why, n) for wait, n in waits.items())]
    return progress_of(
        counts, recorded=run.recorded, known=run.all_known(counts), open=run.facts.open, waits=reasons
    )


def graph_report(runs: Iterable[ActiveRun], *, head: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the body of ``cascade/state/{source}/graph``.

    At most :data:`MAX_BYTES`: a graph that does not fit is folded, then cut, with ``more`` nodes left out;
    graphs for which no room is left are counted under ``more`` of the report.
    """
    report = GraphReport(**head, runs=[], ts=timestamp(now))
    room = MAX_BYTES - encoded_size(report) - _ROOM
    rows: list[RunGraph] = []
    more = 0
    for run in runs:
        row = _graph_row(run, room)
        size = encoded_size(row) + 2
        if size > room:
            more += 1
            continue
        rows.append(row)
        room -= size
    return to_wire(replace(report, runs=rows, more=more))


def _graph_row(run: ActiveRun, room: int) -> RunGraph:
    graph = run.facts.graph
    if not graph.folded:
        row = _whole(run, graph)
        if encoded_size(row) <= room:
            return row
    return _cut(_folded(run, graph), room)


def _whole(run: ActiveRun, graph: GraphFacts) -> RunGraph:
    nodes = [
        GraphNode(id=key, name=name[:LONGEST], kind=kind, known=graph.items.get(key, 1))
        for key, (name, kind) in graph.calls.items()
    ]
    return _row(run, graph, list(graph.calls), nodes, graph.edges)


def _folded(run: ActiveRun, graph: GraphFacts) -> RunGraph:
    nodes = [
        GraphNode(id=name[:LONGEST], name=name[:LONGEST], kind=kind, known=max(run.known(name), 1))
        for name, kind in graph.names.items()
    ]
    return _row(run, graph, list(graph.names), nodes, graph.name_edges)


def _row(
    run: ActiveRun,
    graph: GraphFacts,
    keys: list[str],
    nodes: list[GraphNode],
    edges: Mapping[tuple[str, str], str],
) -> RunGraph:
    at = {key: index for index, key in enumerate(keys)}
    is_folded = edges is graph.name_edges
    return RunGraph(
        run_id=run.run_id,
        rev=graph.rev,
        folded=is_folded,
        nodes=nodes,
        edges=[
            [at[start], at[end], *([role] if role else [])]
            for (start, end), role in edges.items()
            if start in at and end in at
        ],
        more=graph.names_more if is_folded else 0,
    )


def _cut(row: RunGraph, room: int) -> RunGraph:
    """Return a row with as many of its first nodes as fit, and the edges between them."""
    sizes = [encoded_size(node) + 2 for node in row.nodes]
    kept, edges = len(sizes), row.edges
    while kept and sum(sizes[:kept]) + encoded_size(edges) + _ROOM > room:
        kept = kept * 3 // 4
        edges = [[start, end, *role] for start, end, *role in row.edges if max(int(start), int(end)) < kept]
    return replace(row, nodes=row.nodes[:kept], edges=edges, more=row.more + len(sizes) - kept)
