"""Further state of an engine: its graphs, its summary, its host, and what a collector has stored of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from cascade.interfaces.wire.read import _fields as fields

MAX_GRAPHS = 100
"""Graphs that are read of one report."""
MAX_NODES = 2_000
MAX_EDGES = 10_000
_MAX_VALUES = 100  # scalars of a summary, a host or an acknowledgement

Scalar = str | float | bool | None


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One call of the declaration, or all calls of one name in a folded graph."""

    id: str
    name: str
    kind: str = ""
    """``task``, ``map``, ``router`` ...; 1.x may add some."""
    known: int = 1
    """Calls that it stands for, so far."""


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """One node needs another."""

    start: int
    """Index of the node that is needed; ``end`` is that of the node that needs it."""
    end: int
    kind: str = ""


@dataclass(frozen=True, slots=True)
class RunGraph:
    """The graph of one active run."""

    run_id: str
    rev: int
    """Grows with the graph."""
    folded: bool
    """Whether one node stands for all calls of a name."""
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    more: int = 0
    """Nodes that the report leaves out."""


@dataclass(frozen=True, slots=True)
class GraphReport:
    """The graphs of an engine's active runs."""

    source: str
    session: str
    runs: tuple[RunGraph, ...]
    more: int = 0
    """Runs that the report leaves out."""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """An engine in a few scalars."""

    source: str
    up: bool
    """False after a clean end."""
    runs: int = 0
    running: int = 0
    """Tasks that run now; ``waiting`` likewise."""
    waiting: int = 0
    completed: int = 0
    """Tasks since the process started; ``failed`` likewise."""
    failed: int = 0
    paused: bool = False
    last_status: str = ""
    """How the latest run ended; empty before one has."""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class HostReport:
    """The computer and the process of an engine."""

    source: str
    values: Mapping[str, Scalar]
    """``os``, ``machine``, ``python``, ``cascade``, ``cpus``, ``load1``, ``rss`` ..."""
    memory: Mapping[str, Scalar] = field(default_factory=dict)
    """``total`` and ``available``, in bytes."""
    link: Mapping[str, Scalar] = field(default_factory=dict)
    """Counters of the connector."""
    labels: Mapping[str, Scalar] = field(default_factory=dict)
    """What the user has put on the engine."""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """What a collector has stored of a source."""

    source: str
    by: str
    """The collector."""
    upto: Mapping[str, int]
    """By ``{run_id}-{token}``: the highest ``seq`` of ``events`` that is stored."""
    missing: Mapping[str, tuple[tuple[int, int], ...]]
    """By ``{run_id}-{token}``: first and last of each hole below that."""


def read_graph_report(source: str, data: Mapping[str, Any]) -> GraphReport:
    """Return the graphs in a message of ``source``."""
    graphs = [_graph(row) for row in fields.objects(data, "runs", MAX_GRAPHS)]
    return GraphReport(
        source,
        session=fields.text(data, "session"),
        runs=tuple(graph for graph in graphs if graph.run_id),
        more=fields.whole(data, "more") or 0,
        seconds=fields.seconds(data),
    )


def read_summary(source: str, data: Mapping[str, Any]) -> Summary:
    """Return the summary in a message of ``source``."""
    names = ("runs", "running", "waiting", "completed", "failed")
    return Summary(
        source,
        up=bool(fields.number(data, "up")) or fields.flag(data, "up") or False,
        paused=fields.flag(data, "paused") or False,
        last_status=fields.text(data, "last_status"),
        seconds=fields.seconds(data),
        **{name: fields.whole(data, name) or 0 for name in names},
    )


def read_host_report(source: str, data: Mapping[str, Any]) -> HostReport:
    """Return the report on its host in a message of ``source``."""
    head = ("v", "source", "session", "presence", "ts")
    return HostReport(
        source,
        values={name: value for name, value in _scalars(data).items() if name not in head},
        memory=_scalars(fields.mapping(data, "memory")),
        link=_scalars(fields.mapping(data, "link")),
        labels=_scalars(fields.mapping(data, "labels")),
        seconds=fields.seconds(data),
    )


def read_ack(source: str, data: Mapping[str, Any]) -> Ack:
    """Return the acknowledgement for ``source`` in a message."""
    upto, missing = fields.mapping(data, "upto"), fields.mapping(data, "missing")
    names = list(islice(upto, fields.MAX_TEXT))
    return Ack(
        source,
        by=fields.text(data, "by"),
        upto={name: seq for name in names if (seq := fields.whole(upto, name)) is not None},
        missing={name: holes for name in names if (holes := _holes(missing.get(name)))},
    )


def _graph(row: Mapping[str, Any]) -> RunGraph:
    nodes = tuple(map(_node, fields.objects(row, "nodes", MAX_NODES)))
    edges = row.get("edges")
    found = [_edge(each, len(nodes)) for each in edges[:MAX_EDGES]] if isinstance(edges, list) else []
    return RunGraph(
        fields.text(row, "run_id"),
        rev=fields.whole(row, "rev") or 0,
        folded=fields.flag(row, "folded") or False,
        nodes=nodes,
        edges=tuple(edge for edge in found if edge is not None),
        more=fields.whole(row, "more") or 0,
    )


def _node(row: Mapping[str, Any]) -> GraphNode:
    known = fields.whole(row, "known")
    return GraphNode(
        fields.text(row, "id"),
        name=fields.text(row, "name"),
        kind=fields.text(row, "kind"),
        known=1 if known is None else known,
    )


def _edge(value: object, nodes: int) -> GraphEdge | None:
    """Return an edge between nodes of the message, or None."""
    if not isinstance(value, list) or len(value) < 2 or not _indices(value[:2], nodes):
        return None
    kind = value[2] if len(value) > 2 and isinstance(value[2], str) else ""
    return GraphEdge(value[0], value[1], kind[: fields.MAX_TEXT])


def _indices(values: list[object], nodes: int) -> bool:
    return all(type(value) is int and 0 <= value < nodes for value in values)


def _scalars(data: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return the texts, numbers, booleans and nulls of an object."""
    found: dict[str, Scalar] = {}
    for name in islice(data, _MAX_VALUES):
        value = data[name]
        if isinstance(value, str):
            found[name[: fields.MAX_TEXT]] = value[: fields.MAX_TEXT]
        elif value is None or isinstance(value, bool) or fields.number(data, name) is not None:
            found[name[: fields.MAX_TEXT]] = value
    return found


def _holes(value: object) -> tuple[tuple[int, int], ...]:
    pairs = value[: fields.MAX_TEXT] if isinstance(value, list) else []
    return tuple(
        (pair[0], pair[1])
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and _indices(pair, 1 << 63) and pair[0] <= pair[1]
    )
