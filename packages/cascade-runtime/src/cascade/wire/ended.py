"""The report of how an engine's latest runs ended, on ``cascade/state/{source}/ended`` (``PROTOCOL.md``, section 5)."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from cascade.wire.message import Attempt, Counts, Message, NamedRows, Rows, Whole
from cascade.wire.reports import Edge, GraphNode, RecentRun, Report, TaskCounts, check_edges


class FailedTask(Message, frozen=True, kw_only=True):
    """A call that has failed for good."""

    task_id: str
    task_name: str
    error: str
    attempt: Attempt = 1
    """Which try of the task it was."""
    ended: str


class InterruptedTask(Message, frozen=True, kw_only=True):
    """A call that ran when the process died."""

    task_id: str
    task_name: str
    since: str


class EndedNode(GraphNode, frozen=True, kw_only=True):
    """All calls of one name, as they were at the end."""

    counts: Counts


class EndedGraph(Message, frozen=True, kw_only=True):
    """The graph of a run at its end, with one node for each name. Its edges are those of a :class:`RunGraph`."""

    nodes: list[EndedNode]
    edges: list[Edge]
    more: Whole = 0
    """Nodes that the report leaves out."""

    def __post_init__(self) -> None:
        check_edges(self.edges, len(self.nodes))


class EndedRun(RecentRun, frozen=True, kw_only=True):
    """A run that has ended, whole: everything here is of its end."""

    tasks: NamedRows[TaskCounts]
    """By name."""
    failures: Rows[FailedTask]
    """The first that failed, in the order of their ends."""
    interrupted: Rows[InterruptedTask]
    """Of a run that is ``Lost``: what ran in the last report of its process."""
    graph: EndedGraph | UnsetType = UNSET
    tasks_more: Whole = 0
    """Names that the report leaves out; likewise for the other lists."""
    failures_more: Whole = 0
    interrupted_more: Whole = 0


class EndedReport(Report, frozen=True, kw_only=True):
    """The run that ended last, and behind it the last one that failed, if that is another one."""

    runs: Rows[EndedRun]
    ts: str
