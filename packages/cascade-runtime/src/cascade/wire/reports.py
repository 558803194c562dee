"""The reports of an engine on ``cascade/state/{source}/...``, and a collector's acknowledgement (``PROTOCOL.md``, sections 4 and 5)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType, field

from cascade.wire.message import Attempt, Counts, Message, NamedRows, Number, Rows, Tags, Whole

Status = Annotated[str, Meta(extra_json_schema={"enum": ["Succeeded", "Failed", "Cancelled", "Lost"]})]
"""How a run ended; ``Lost``: its process died, and the next one of that name says so."""


class Report(Message, frozen=True, kw_only=True):
    """The head of a report."""

    v: str
    source: str
    session: str
    """Random for each engine."""
    presence: str = ""
    """The session of the connector's birth; absent without presence."""


class AppliedEntry(Message, frozen=True, kw_only=True):
    """What an engine does with one register."""

    id: str
    status: Annotated[
        str,
        Meta(
            extra_json_schema={
                "enum": ["applied", "no_match", "expired", "unsupported", "rejected", "refused"]
            }
        ),
    ]
    by: str = ""
    reason: str = ""


class GateEntry(Message, frozen=True, kw_only=True):
    """What a gate says."""

    state: Annotated[str, Meta(extra_json_schema={"enum": ["open", "closed", "unknown"]})]
    holds: bool
    """Whether it holds its scope: ``unknown`` does, unless ``on_stale`` says ``pass``."""
    value: Number | str | None
    """The number, or the first 32 characters of the word; None while it is unknown, and of a window."""
    since: str
    """When that began."""
    text: str
    """Why, in words."""


class EffectiveEntry(Message, frozen=True, kw_only=True):
    """One constraint in force."""

    scope: str
    type: str
    params: dict[str, Any]
    topic: str
    id: str
    expires_at: Number | None
    """Seconds since the epoch, or None."""
    by: str = ""
    gate: GateEntry | UnsetType = UNSET
    """Of a type ``gate.NAME``."""


class ConstraintsReport(Report, frozen=True, kw_only=True):
    """The constraints that an engine obeys."""

    sync: Annotated[
        str,
        Meta(extra_json_schema={"enum": ["idle", "syncing", "synced", "degraded", "stale", "stopped"]}),
    ]
    applied: NamedRows[AppliedEntry]
    """By topic of a register."""
    effective: Rows[EffectiveEntry]
    in_scope_running: Whole
    ts: str
    more: Whole = 0
    """Registers that the report leaves out; likewise ``effective_more``."""
    effective_more: Whole = 0
    over_limit: Whole = 0
    """Registers that are refused because there are too many."""
    contested: bool = False
    """Whether another process uses the name of this one."""


class Durations(Message, frozen=True, kw_only=True):
    """Calls that have ended: their number, and their durations in milliseconds."""

    n: Whole
    sum: Number
    max: Number


class TaskCounts(Message, frozen=True, kw_only=True):
    """All calls of one name."""

    known: Whole
    """Calls that the engine knows so far."""
    counts: Counts
    ms: Durations | UnsetType = UNSET


class RunningTask(Message, frozen=True, kw_only=True):
    """A call that runs, or that a constraint holds at a checkpoint."""

    task_id: str
    task_name: str
    since: str
    done: Number | None = None
    """Progress, where the task reports it."""
    total: Number | UnsetType | None = UNSET
    message: str = ""
    unit: str = ""
    paused: bool
    """Whether a constraint holds it at a checkpoint."""


class Waiting(Message, frozen=True, kw_only=True):
    """One reason for which tasks wait."""

    why: Annotated[
        str,
        Meta(extra_json_schema={"enum": ["constraint", "gate", "resource", "rate", "slot", "retry", "sync"]}),
    ]
    topic: str = ""
    """Register, of ``constraint``."""
    type: str = ""
    id: str = ""
    name: str = ""
    """Resource, of ``resource``; of ``gate``, a gate that the program itself declares."""
    text: str = ""
    """Why a gate is closed, in words."""
    n: Whole
    """Calls that wait for it; a call counts under each of its reasons."""
    since: str = ""
    until: str = ""
    """When the next attempt begins, of ``retry``."""


class GraphRevision(Message, frozen=True, kw_only=True):
    """How far the graph of a run has grown."""

    rev: Whole
    nodes: Whole


class ActiveRun(Message, frozen=True, kw_only=True):
    """A run that has not ended."""

    run_id: Annotated[str, Meta(min_length=1)]
    token: str = ""
    """The one in the events of this attempt."""
    target: str
    name: str = ""
    """Name that the user gave the run."""
    tags: Tags = field(default_factory=dict)
    started: str
    attempt: Attempt
    counts: Counts
    recorded: Whole = 0
    """Those of the skipped tasks that an earlier attempt of the run has recorded."""
    known: Whole
    """Tasks that the engine knows so far."""
    open: Annotated[bool, Meta(extra={"missing": True})]
    """Whether more tasks may come."""
    eta_s: Number | None = None
    """Seconds until the run will probably end, where the engine can tell."""
    tasks: NamedRows[TaskCounts]
    running: Rows[RunningTask]
    """The longest first."""
    waiting: Rows[Waiting]
    graph: GraphRevision
    lost: Whole
    """Events that were dropped for good."""
    tasks_more: Whole = 0
    """Names that the report leaves out; likewise for the other lists."""
    running_more: Whole = 0
    waiting_more: Whole = 0


class RecentRun(Message, frozen=True, kw_only=True):
    """A run that has ended."""

    run_id: Annotated[str, Meta(min_length=1)]
    token: str = ""
    target: str
    name: str = ""
    tags: Tags = field(default_factory=dict)
    status: Status
    error: str
    """Why it failed, or who or what cancelled it."""
    by: str = ""
    """Author of the cancel that ended it, as its message claims."""
    started: str
    ended: str
    attempt: Attempt
    duration_ms: Number | None
    counts: Counts
    recorded: Whole = 0
    """Those of the skipped tasks that an earlier attempt of the run has recorded."""
    known: Whole
    """Tasks that the engine knew at the end."""


class RunsReport(Report, frozen=True, kw_only=True):
    """What an engine runs, and how its latest runs ended.

    The report of a process in which no engine has run yet has no ``org_id``, ``project_id`` and ``paused``.
    """

    org_id: str = ""
    project_id: str = ""
    runs: Rows[ActiveRun]
    more: Whole = 0
    """Runs that the report leaves out."""
    recent: Rows[RecentRun]
    """The latest first."""
    recent_more: Whole = 0
    paused: bool | None = None
    """Whether a pause covers everything that this engine runs."""
    ts: str
    contested: bool = False
    """Whether another process uses the name of this one."""


class GraphNode(Message, frozen=True, kw_only=True):
    """A call of the declaration, or all calls of one name in a folded graph."""

    id: str
    name: str
    kind: str
    """``task``, ``map``, ``route`` ...; 1.x may add some."""
    known: Annotated[int, Meta(ge=0, le=(1 << 63) - 1, extra={"missing": 1})]
    """Calls that it stands for, so far."""


Edge = list[int | str]
"""The indices of two nodes, the second of which needs the first, and ``argument`` if the edge carries a value."""


def check_edges(edges: list[Edge], nodes: int) -> None:
    """Check that each edge is one of so many nodes.

    :raises ValueError: if one is not.
    """
    for edge in edges:
        if len(edge) < 2 or edge[0] not in range(nodes) or edge[1] not in range(nodes):
            raise ValueError("an edge needs two nodes")


class RunGraph(Message, frozen=True, kw_only=True):
    """The graph of one run. An edge has the indices of two nodes, and ``argument`` if it carries a value."""

    run_id: Annotated[str, Meta(min_length=1)]
    rev: Whole
    """Grows with the graph."""
    folded: bool
    """Whether one node stands for all calls of a name."""
    nodes: list[GraphNode]
    edges: list[Edge]
    more: Whole = 0
    """Nodes that the report leaves out."""

    def __post_init__(self) -> None:
        check_edges(self.edges, len(self.nodes))


class GraphReport(Report, frozen=True, kw_only=True):
    """The graphs of active runs."""

    runs: Rows[RunGraph]
    more: Whole = 0
    """Runs that the report leaves out."""
    ts: str


class Summary(Message, frozen=True, kw_only=True):
    """An engine in a few scalars."""

    up: Annotated[int | bool, Meta(extra_json_schema={"enum": [0, 1]})]
    """0 after a clean end."""
    runs: Whole
    running: Whole
    """Tasks that run now; ``waiting`` likewise."""
    waiting: Whole
    completed: Whole
    """Tasks since the process started; ``failed`` likewise."""
    failed: Whole
    paused: bool
    last_status: Annotated[
        str, Meta(extra_json_schema={"enum": ["", "Succeeded", "Failed", "Cancelled", "Lost"]})
    ]
    """How the latest run ended; empty before one has."""
    ts: str


class Memory(Message, frozen=True, kw_only=True):
    """Memory of a computer in bytes."""

    total: Whole | None
    available: Whole | None


class HostReport(Report, frozen=True, kw_only=True):
    """The computer and the process of an engine."""

    os: str
    machine: str
    python: str
    cascade: str
    cpus: Whole | None
    load1: Number | None
    rss: Whole | None
    """Bytes of memory that the process has."""
    memory: Memory
    link: dict[str, Whole]
    """Counters of the connector."""
    labels: Tags
    """What the user has put on the engine."""
    ts: str


class Acknowledgement(Message, frozen=True, kw_only=True):
    """What a collector has stored of a source, by ``{run_id}-{token}``."""

    v: str
    by: str
    """The collector."""
    upto: NamedRows[Whole]
    """The highest ``seq`` of ``events`` that is stored."""
    missing: NamedRows[list[Annotated[list[Whole], Meta(min_length=2, max_length=2)]]]
    """First and last of each hole below that."""
