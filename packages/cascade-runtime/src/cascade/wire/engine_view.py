"""One engine, as its messages show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from cascade.wire.ended import EndedReport
from cascade.wire.parsed import Presence
from cascade.wire.progress import UNKNOWN
from cascade.wire.reading import seconds
from cascade.wire.reports import (
    Acknowledgement,
    ConstraintsReport,
    GraphReport,
    HostReport,
    RunsReport,
    Summary,
)
from cascade.wire.requests import WorkflowsReport

LIVE_SECONDS = 12.0
"""An engine without presence counts as online for so long after its last message: it reports every 10 s."""

ONLINE, LOST, ENDED = "online", "lost", "ended"

OWN_KINDS = ("presence", "constraints", "runs", "graph", "ended", "summary", "host", "workflows")
"""What an engine itself says of its state."""
KINDS = (*OWN_KINDS, "ack")


def covers_everything(scope: str) -> bool:
    """Return whether a constraint in force on an engine covers each task of each of its runs.

    >>> covers_everything("global"), covers_everything("task:*"), covers_everything("task:bake*")
    (True, True, False)
    """
    return scope == "task:*" or not scope.startswith(("task:", "run:"))


class Listed(NamedTuple):
    """The runs that a report has listed as active."""

    presence: str = ""
    runs: frozenset[str] = frozenset()


@dataclass(slots=True)
class EngineView:
    """What one source has shown of itself."""

    source: str
    presence: Presence | None = None
    """None for an engine without a name, and before its presence has arrived."""
    constraints: ConstraintsReport | None = None
    runs: RunsReport | None = None
    graph: GraphReport | None = None
    ended: EndedReport | None = None
    born: float | None = None
    """When its latest birth arrived, on the reader's clock; a retained one does not count."""
    summary: Summary | None = None
    host: HostReport | None = None
    workflows: WorkflowsReport | None = None
    """What it starts when it is asked."""
    ack: Acknowledgement | None = None
    """What a collector has stored of its events."""
    project_id: str = ""
    place: tuple[str, str] | None = None
    """The organization and the project that its report of runs has named; events of others are not its own."""
    seen: float | None = None
    """When its first message arrived, a retained one too, on the reader's clock."""
    heard: float | None = None
    """When its last message arrived, on the reader's clock; a retained message does not count."""
    first_heard: float | None = None
    """When its first message arrived that was not retained."""
    applied_since: dict[str, float] = field(default_factory=dict)
    """By topic of a register: the engine's time of its first report that it obeys the register."""
    listed: dict[str, Listed] = field(default_factory=dict)
    """Runs in the latest report, by session."""

    def status(self, now: float) -> str:
        """Return ``online``, ``lost`` or ``ended`` at ``now`` on the reader's clock.

        It is ``unknown`` while only events have come: they do not show whether it is connected. Without presence it is
        ``unknown``, too, for the first 12 s of a reader who has only what the broker kept of it: it may report by then.
        """
        presence = self.presence
        if presence is not None and presence.online:
            return ONLINE
        if self._has_stopped or (presence is not None and presence.reason):
            return ENDED
        if self.only_events:
            return UNKNOWN
        if presence is None and not self.is_silent(now):
            return ONLINE
        return UNKNOWN if presence is None and self._may_report(now) else LOST

    def is_live(self, now: float) -> bool:
        """Return whether it is online, or has reported in the last 12 s, at ``now`` on the reader's clock."""
        return self.status(now) == ONLINE

    @property
    def only_events(self) -> bool:
        """Whether events have come of it, and neither a birth nor any report."""
        return self.heard is not None and all(getattr(self, kind) is None for kind in OWN_KINDS)

    def is_silent(self, now: float) -> bool:
        """Return whether nothing has come of it for 12 s; retained messages do not count."""
        return self.heard is None or now - self.heard > LIVE_SECONDS

    def has_no_state(self, now: float) -> bool:
        """Return whether only events have come of it for 12 s: an engine that reports here has reported by then.

        An engine on NATS, for example, shows MQTT clients of the same server no more than its events.
        """
        if not self.only_events or self.first_heard is None:
            return False
        return now - self.first_heard > LIVE_SECONDS

    @property
    def reason(self) -> str:
        """Why it is no longer connected, where it has announced that; else empty."""
        return self.presence.reason if self.presence is not None else ""

    @property
    def session(self) -> str:
        """Session of its reports; empty before the first one."""
        report = self.constraints or self.runs
        return report.session if report is not None else ""

    @property
    def reports_of_another(self) -> bool:
        """Whether its report on constraints is not of the process that is online: that has another session.

        An earlier process has left it, or another client has written it.
        """
        report, birth = self.constraints, self.presence
        if report is None or birth is None or not birth.online:
            return False
        return bool(report.presence and birth.session) and report.presence != birth.session

    def runs_of_another(self, now: float) -> bool:
        """Return whether its report of runs is of an earlier process: the one that is online was born without one, and lists nothing.

        A process that only has a new link reports at once. Where two processes use the name, each may be the other one.
        """
        report, birth = self.runs, self.presence
        if report is None or birth is None or not birth.online or self.contested:
            return False
        is_new = self.born is not None and now - self.born <= LIVE_SECONDS
        return bool(report.presence and birth.session) and report.presence != birth.session and not is_new

    @property
    def has_no_birth(self) -> bool:
        """Whether its report on constraints names the session of a birth that the broker does not have.

        Without access rules any client can write such a report.
        """
        return self.constraints is not None and bool(self.constraints.presence) and self.presence is None

    @property
    def reported(self) -> float | None:
        """When its last report was written, by its own clock; None if none has a time. A retained one counts, too."""
        reports = (self.constraints, self.runs, self.summary)
        times = (seconds(report.ts) for report in reports if report is not None)
        return max((each for each in times if each is not None), default=None)

    @property
    def is_unreported(self) -> bool:
        """Whether it is online and none of its reports has come, which every engine with a birth retains.

        Access rules may hide them from this reader: what it runs and obeys is not known then.
        """
        is_online = self.presence is not None and self.presence.online
        return is_online and self.constraints is None and self.runs is None

    @property
    def contested(self) -> bool:
        """Whether two processes use its name: a report is of one of them, and does not speak for the other."""
        return any(report is not None and report.contested for report in (self.constraints, self.runs))

    @property
    def sync(self) -> str:
        """``idle``, ``syncing``, ``synced``, ``degraded``, ``stale`` or ``stopped``; empty before it is known."""
        return self.constraints.sync if self.constraints is not None else ""

    @property
    def paused(self) -> bool:
        """Whether a pause covers everything that this engine runs."""
        if self.constraints is None:
            return self.runs is not None and self.runs.paused is True
        return any(row.type == "pause" and covers_everything(row.scope) for row in self.constraints.effective)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of it but events."""
        return all(getattr(self, kind) is None for kind in KINDS)

    def _may_report(self, now: float) -> bool:
        """Return whether only retained messages have come of it so far, and for no longer than an engine takes to report."""
        return self.heard is None and self.seen is not None and now - self.seen <= LIVE_SECONDS

    @property
    def _has_stopped(self) -> bool:
        down = self.summary is not None and not self.summary.up
        return down or self.sync == "stopped"
