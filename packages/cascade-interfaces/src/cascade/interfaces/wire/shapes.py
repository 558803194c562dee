"""The shapes of presence, reports and acknowledgements on the wire (``PROTOCOL.md``, sections 3 to 5).

Also that of a register as a person writes it. Those of telemetry are in ``wire.write`` and ``wire.bodies``, those of control in ``control_messages``. Readers
accept further keys everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from cascade.interfaces.events import Tag

Counts = Mapping[str, int]
"""Tasks by state."""
Number = int | float


class Birth(TypedDict):
    """A named process is connected."""

    status: Literal["online"]
    session: str
    ts: str
    pid: int
    host: str
    version: str


class Offline(TypedDict):
    """A process is not connected: with ``reason`` it has ended, without one this is its will."""

    status: Literal["offline"]
    session: NotRequired[str]
    reason: NotRequired[Literal["ended"]]


class ConstraintByHand(TypedDict):
    """The content of a register as a person may write it: what is missing follows from the topic."""

    id: NotRequired[str]
    scope: NotRequired[str]
    type: str
    params: NotRequired[Mapping[str, Any]]
    expires_at: NotRequired[float | None]
    by: NotRequired[str]


class Echo(TypedDict):
    """What a process sends to itself; a canary has a text that only this process knows."""

    canary: NotRequired[str]


class AppliedEntry(TypedDict):
    """What an engine does with one register."""

    id: str
    status: Literal["applied", "no_match", "expired", "unsupported", "rejected"]
    reason: NotRequired[str]
    by: NotRequired[str]


class EffectiveEntry(TypedDict):
    """One constraint in force."""

    scope: str
    type: str
    params: Mapping[str, Any]
    topic: str
    id: str
    expires_at: Number | None
    by: NotRequired[str]


class ConstraintsReport(TypedDict):
    """The constraints that an engine obeys."""

    v: str
    source: str
    session: str
    presence: NotRequired[str]
    sync: Literal["idle", "syncing", "synced", "degraded", "stale", "stopped"]
    applied: Mapping[str, AppliedEntry]
    effective: list[EffectiveEntry]
    in_scope_running: int
    more: NotRequired[int]
    over_limit: NotRequired[int]
    effective_more: NotRequired[int]
    ts: str


class Durations(TypedDict):
    """Calls that have ended: their number, and their durations in milliseconds."""

    n: int
    sum: Number
    max: Number


class TaskCounts(TypedDict):
    """All calls of one name."""

    known: int
    counts: Counts
    ms: NotRequired[Durations]


class RunningTask(TypedDict):
    """A call that runs, or that a constraint holds at a checkpoint."""

    task_id: str
    task_name: str
    since: str
    done: NotRequired[Number]
    total: NotRequired[Number | None]
    message: NotRequired[str]
    unit: NotRequired[str]
    paused: bool


class Waiting(TypedDict):
    """One reason for which tasks wait."""

    why: Literal["constraint", "resource", "slot", "retry", "sync"]
    n: int
    since: NotRequired[str]
    until: NotRequired[str]
    topic: NotRequired[str]
    type: NotRequired[str]
    id: NotRequired[str]
    name: NotRequired[str]


class GraphRevision(TypedDict):
    """How far the graph of a run has grown."""

    rev: int
    nodes: int


class ActiveRun(TypedDict):
    """A run that has not ended."""

    run_id: str
    target: str
    name: NotRequired[str]
    tags: NotRequired[Mapping[str, Tag]]
    started: str
    attempt: int
    counts: Counts
    known: int
    open: bool
    eta_s: NotRequired[Number]
    tasks: NotRequired[Mapping[str, TaskCounts]]
    tasks_more: NotRequired[int]
    running: NotRequired[list[RunningTask]]
    running_more: NotRequired[int]
    waiting: NotRequired[list[Waiting]]
    waiting_more: NotRequired[int]
    graph: NotRequired[GraphRevision]
    lost: int


class RecentRun(TypedDict):
    """A run that has ended."""

    run_id: str
    target: str
    name: NotRequired[str]
    tags: NotRequired[Mapping[str, Tag]]
    status: Literal["Succeeded", "Failed", "Cancelled"]
    error: NotRequired[str]
    started: str
    ended: str
    attempt: int
    duration_ms: Number
    counts: Counts


class RunsReport(TypedDict):
    """What an engine runs, and how its latest runs ended.

    The report of a process in which no engine has run yet has no ``org_id``, ``project_id`` and ``paused``.
    """

    v: str
    source: str
    session: str
    presence: NotRequired[str]
    org_id: NotRequired[str]
    project_id: NotRequired[str]
    runs: list[ActiveRun]
    more: NotRequired[int]
    recent: list[RecentRun]
    recent_more: NotRequired[int]
    paused: NotRequired[bool]
    ts: str


class GraphNode(TypedDict):
    """A call of the declaration, or all calls of one name in a folded graph."""

    id: str
    name: str
    kind: str
    known: int


class RunGraph(TypedDict):
    """The graph of one run. An edge has the indices of two nodes, and ``argument`` if it carries a value."""

    run_id: str
    rev: int
    folded: bool
    nodes: list[GraphNode]
    edges: list[list[int | str]]
    more: NotRequired[int]


class GraphReport(TypedDict):
    """The graphs of active runs."""

    v: str
    source: str
    session: str
    presence: NotRequired[str]
    runs: list[RunGraph]
    more: NotRequired[int]
    ts: str


class Summary(TypedDict):
    """An engine in a few scalars."""

    up: Literal[0, 1]
    runs: int
    running: int
    waiting: int
    completed: int
    failed: int
    paused: bool
    last_status: Literal["", "Succeeded", "Failed", "Cancelled"]
    ts: str


class Memory(TypedDict):
    """Memory of a computer in bytes."""

    total: int | None
    available: int | None


class HostReport(TypedDict):
    """The computer and the process of an engine."""

    v: str
    source: str
    session: str
    presence: NotRequired[str]
    os: str
    machine: str
    python: str
    cascade: str
    cpus: int | None
    load1: Number | None
    rss: int | None
    memory: Memory
    link: NotRequired[Mapping[str, int]]
    labels: NotRequired[Mapping[str, Tag]]
    ts: str


class Acknowledgement(TypedDict):
    """What a collector has stored of a source, by ``{run_id}-{token}``."""

    v: str
    by: str
    upto: Mapping[str, int]
    missing: Mapping[str, list[list[int]]]
