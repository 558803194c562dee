"""What the reports show of a run that has ended: a row, and for a while all of it. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from cascade.interfaces import TaskState, TaskStateEvent
from cascade.interfaces.tags import clean_tags
from cascade.interfaces.wire import timestamp
from cascade.runtime._run_reports.active_run import LONGEST, ActiveRun
from cascade.wire.ended import EndedGraph, EndedNode, EndedReport, EndedRun, FailedTask, InterruptedTask
from cascade.wire.message import encoded_size, to_wire

MAX_BYTES = 64 * 1024
"""The most bytes of the report."""
MAX_NAMES = 100
MAX_INTERRUPTED = 32
_ROOM = 256  # bytes for the counts of what was left out

Clean = Callable[[str], str]
"""Prepares free text to leave the process."""


def ended_run(
    run: ActiveRun, *, status: str, error: str, ended: float, clean: Clean, by: str = ""
) -> EndedRun:
    """Return all that is reported of a run that has ended; ``ended`` is in seconds since the epoch."""
    counts, names = run.counts(), run.names(MAX_NAMES)
    return EndedRun(
        run_id=run.run_id,
        token=run.token,
        target=clean(run.target)[:LONGEST],
        name=clean(run.name) if run.name else "",
        tags=clean_tags(run.tags, clean),
        status=status,
        error=clean(error) if error else "",
        by=clean(by)[:LONGEST] if by else "",
        started=timestamp(run.started),
        ended=timestamp(ended),
        attempt=run.attempt,
        duration_ms=round((ended - run.started) * 1000, 3),
        counts=counts,
        recorded=run.recorded,
        known=run.all_known(counts),
        tasks={name[:LONGEST]: run.row(name) for name in names},
        failures=[_failed(event, clean) for event in run.failures],
        interrupted=[_interrupted(event) for event in islice(run.running.values(), MAX_INTERRUPTED)],
        graph=_graph(run),
        tasks_more=len(run.names()) - len(names),
        failures_more=max(counts.get(TaskState.FAILED, 0) - len(run.failures), 0),
        interrupted_more=max(len(run.running) - MAX_INTERRUPTED, 0),
    )


def ended_report(runs: Sequence[EndedRun], *, head: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the body of ``cascade/state/{source}/ended``.

    At most :data:`MAX_BYTES`: while it is longer, the longest run loses its graph, then its tasks, then its failures but the first.
    """
    report = EndedReport(**head, runs=[], ts=timestamp(now))
    room = MAX_BYTES - encoded_size(report) - _ROOM
    sizes = [encoded_size(run) + 2 for run in runs]
    found, steps = list(runs), [0] * len(runs)
    while sum(sizes) > room:
        at = max((size, index) for index, size in enumerate(sizes) if steps[index] < len(_STEPS))[1]
        found[at] = _STEPS[steps[at]](found[at])
        steps[at] += 1
        sizes[at] = encoded_size(found[at]) + 2
    return to_wire(replace(report, runs=found))


def _without_graph(run: EndedRun) -> EndedRun:
    return replace(run, graph=UNSET)


def _without_tasks(run: EndedRun) -> EndedRun:
    return replace(run, tasks={}, tasks_more=run.tasks_more + len(run.tasks))


def _with_first_failure(run: EndedRun) -> EndedRun:
    more = run.failures_more + len(run.failures[1:])
    return replace(run, failures=run.failures[:1], failures_more=more)


def _without_interrupted(run: EndedRun) -> EndedRun:
    more = run.interrupted_more + len(run.interrupted)
    return replace(run, interrupted=[], interrupted_more=more, tags={})


_STEPS = (_without_graph, _without_tasks, _with_first_failure, _without_interrupted)
"""What a run loses, one after the other; without all that it has at most a few thousand bytes."""


def _failed(event: TaskStateEvent, clean: Clean) -> FailedTask:
    return FailedTask(
        task_id=event.task_id,
        task_name=event.task_name[:LONGEST],
        error=clean(event.error) if event.error else "",
        attempt=max(event.attempt, 1),
        ended=timestamp(event.timestamp),
    )


def _interrupted(began: TaskStateEvent) -> InterruptedTask:
    since = timestamp(began.timestamp)
    return InterruptedTask(task_id=began.task_id, task_name=began.task_name[:LONGEST], since=since)


def _graph(run: ActiveRun) -> EndedGraph:
    """Return the graph with one node for each name."""
    facts = run.facts.graph
    nodes = []
    for name, kind in facts.names.items():
        row, short = run.row(name), name[:LONGEST]
        nodes.append(EndedNode(id=short, name=short, kind=kind, known=max(row.known, 1), counts=row.counts))
    at = {name: index for index, name in enumerate(facts.names)}
    edges: list[list[int | str]] = [
        [at[start], at[end], *([role] if role else [])]
        for (start, end), role in facts.name_edges.items()
        if start in at and end in at
    ]
    return EndedGraph(nodes=nodes, edges=edges, more=facts.names_more)
