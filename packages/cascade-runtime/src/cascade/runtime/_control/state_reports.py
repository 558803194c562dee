"""The bodies of an engine's further reports: its summary and its graphs. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from cascade.interfaces.wire import timestamp
from cascade.runtime._control.active_run import ActiveRun
from cascade.runtime._control.register_table import encoded_size
from cascade.runtime._control.run_table import RunTable
from cascade.runtime._control.runs_report import MAX_BYTES
from cascade.runtime._support.run_facts import GraphFacts
from cascade.wire.message import to_wire
from cascade.wire.reports import GraphNode, GraphReport, RunGraph, Summary

_LONGEST = 200  # characters of a name
_ROOM = 128


def summary_report(runs: RunTable, *, up: bool, paused: bool, now: float) -> dict[str, Any]:
    """Return the body of ``cascade/state/{source}/summary``: scalars only."""
    counts = [run.counts() for run in runs.active()]

    def total(*states: str) -> int:
        return sum(each.get(state, 0) for each in counts for state in states)

    return to_wire(
        Summary(
            up=int(up),
            runs=len(counts),
            running=total("RUNNING"),
            waiting=total("BLOCKED", "RETRYING"),
            completed=runs.history.completed + total("COMPLETED"),
            failed=runs.history.failed + total("FAILED"),
            paused=paused,
            last_status=runs.history.last_status,
            ts=timestamp(now),
        )
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
        GraphNode(id=key, name=name[:_LONGEST], kind=kind, known=graph.items.get(key, 1))
        for key, (name, kind) in graph.calls.items()
    ]
    return _row(run, graph, list(graph.calls), nodes, graph.edges)


def _folded(run: ActiveRun, graph: GraphFacts) -> RunGraph:
    nodes = [
        GraphNode(id=name[:_LONGEST], name=name[:_LONGEST], kind=kind, known=max(run.known(name), 1))
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
