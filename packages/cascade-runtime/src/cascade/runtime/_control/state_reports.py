"""The bodies of an engine's further reports: its summary and its graphs. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cascade.interfaces.wire.write import timestamp
from cascade.runtime._control.active_run import ActiveRun
from cascade.runtime._control.register_table import encoded_size
from cascade.runtime._control.run_table import RunTable
from cascade.runtime._control.runs_report import MAX_BYTES
from cascade.runtime._support.run_facts import GraphFacts, Row

_LONGEST = 200  # characters of a name
_ROOM = 128


def summary_report(runs: RunTable, *, up: bool, paused: bool, now: float) -> dict[str, Any]:
    """Return the body of ``cascade/state/{source}/summary``: scalars only."""
    counts = [run.counts() for run in runs.active()]

    def total(*states: str) -> int:
        return sum(each.get(state, 0) for each in counts for state in states)

    return {
        "up": int(up),
        "runs": len(counts),
        "running": total("RUNNING"),
        "waiting": total("BLOCKED", "RETRYING"),
        "completed": runs.history.completed + total("COMPLETED"),
        "failed": runs.history.failed + total("FAILED"),
        "paused": paused,
        "last_status": runs.history.last_status,
        "ts": timestamp(now),
    }


def graph_report(runs: Iterable[ActiveRun], *, head: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the body of ``cascade/state/{source}/graph``.

    At most :data:`MAX_BYTES`: a graph that does not fit is folded, then cut, with ``more`` nodes left out;
    graphs for which no room is left are counted under ``more`` of the report.
    """
    tail = {"ts": timestamp(now)}
    room = MAX_BYTES - encoded_size({**head, **tail}) - _ROOM
    rows: list[Row] = []
    more = 0
    for run in runs:
        row = _graph_row(run, room)
        size = encoded_size(row) + 2
        if size > room:
            more += 1
            continue
        rows.append(row)
        room -= size
    return {**head, "runs": rows, **({"more": more} if more else {}), **tail}


def _graph_row(run: ActiveRun, room: int) -> Row:
    graph = run.facts.graph
    if not graph.folded:
        row = _whole(run, graph)
        if encoded_size(row) <= room:
            return row
    return _cut(_folded(run, graph), room)


def _whole(run: ActiveRun, graph: GraphFacts) -> Row:
    nodes = [
        {"id": key, "name": name[:_LONGEST], "kind": kind, "known": graph.items.get(key, 1)}
        for key, (name, kind) in graph.calls.items()
    ]
    return _row(run, graph, list(graph.calls), nodes, graph.edges)


def _folded(run: ActiveRun, graph: GraphFacts) -> Row:
    nodes = [
        {"id": name[:_LONGEST], "name": name[:_LONGEST], "kind": kind, "known": max(run.known(name), 1)}
        for name, kind in graph.names.items()
    ]
    return _row(run, graph, list(graph.names), nodes, graph.name_edges)


def _row(
    run: ActiveRun, graph: GraphFacts, keys: list[str], nodes: list[Row], edges: Mapping[tuple[str, str], str]
) -> Row:
    at = {key: index for index, key in enumerate(keys)}
    row: Row = {"run_id": run.run_id, "rev": graph.rev, "folded": edges is graph.name_edges, "nodes": nodes}
    row["edges"] = [
        [at[start], at[end], *([role] if role else [])]
        for (start, end), role in edges.items()
        if start in at and end in at
    ]
    if row["folded"] and graph.names_more:
        row["more"] = graph.names_more
    return row


def _cut(row: Row, room: int) -> Row:
    """Return a row with as many of its first nodes as fit, and the edges between them."""
    sizes = [encoded_size(node) + 2 for node in row["nodes"]]
    kept, edges = len(sizes), row["edges"]
    while kept and sum(sizes[:kept]) + encoded_size(edges) + _ROOM > room:
        kept = kept * 3 // 4
        edges = [edge for edge in row["edges"] if edge[0] < kept and edge[1] < kept]
    more = row.get("more", 0) + len(sizes) - kept
    cut = {**row, "nodes": row["nodes"][:kept], "edges": edges}
    return {**cut, "more": more} if more else cut
