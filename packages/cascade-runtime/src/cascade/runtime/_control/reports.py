"""The reports of one engine on its constraints and runs: their contents, and when they are published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace

from cascade.interfaces import Clock
from cascade.interfaces.gates import GateReading, is_gate
from cascade.interfaces.topics import state_topic, status_topic
from cascade.interfaces.wire import VERSION, encode_payload, timestamp
from cascade.runtime._admission.rules import Key
from cascade.runtime._control.watched_state import INTERVAL as HOST_INTERVAL
from cascade.runtime._control.watched_state import WatchedState
from cascade.runtime._registers.registers import Registers
from cascade.runtime._registers.sync import Sync, SyncState
from cascade.runtime._run_reports.active_run import ActiveRun
from cascade.runtime._support.clock import earliest
from cascade.runtime._support.publish_queue import PublishQueue
from cascade.transport.presence import ENDED
from cascade.wire.message import encoded_size, to_wire
from cascade.wire.reports import ConstraintsReport, EffectiveEntry, GateEntry

MAX_ENTRIES = 500
"""The most registers, and the most effective constraints, that one report lists."""
MAX_BYTES = 64 * 1024
"""The most bytes of one report."""
REPEAT = 10.0
"""Seconds after which a report is repeated while a run is active."""

_RUNS_SOON = 0.05
"""Seconds from a change to the report of runs: a run that ends sooner is reported once, as ended."""
_SUMMARY_SOON = 0.005
"""Seconds from the end of the last run to its summary."""


_COUNTS = 128  # bytes for the counts of what was left out
_GATE_KEY = len(',"gate":')
T = TypeVar("T")


class ReportSchedule:
    """Decides when a report is due: soon after a change, but not too often. No I/O.

    :param soon: seconds from a change to the report.
    :param interval: least seconds between two reports.
    """

    def __init__(self, *, soon: float, interval: float) -> None:
        self.repeating = False
        """Whether the report is due again after :data:`REPEAT` seconds without a change."""
        self._soon = soon
        self._interval = interval
        self._sent: float | None = None
        self._changed: float | None = None

    @property
    def is_touched(self) -> bool:
        """Whether a change has been noted since the last report."""
        return self._changed is not None

    def touch(self, now: float) -> bool:
        """Note a change; return whether it is the first one since the last report."""
        first = self._changed is None
        if first:
            self._changed = now
        return first

    def due(self) -> float | None:
        """Return when the report is due, on the monotonic clock, or None."""
        sent = self._sent
        if self._changed is not None:
            soon = self._changed + self._soon
            return soon if sent is None else max(soon, sent + self._interval)
        return sent + REPEAT if self.repeating and sent is not None else None

    def sent(self, now: float) -> None:
        """Note that the report is being published."""
        self._sent, self._changed = now, None


class Gates(NamedTuple):
    """What the gates in force say."""

    reading: Callable[[Key], GateReading | None]
    """Returns what one says, or None if it is not in force."""
    revision: Callable[[], int]
    """Returns a number that goes up with every change that a report should show soon."""


_NO_GATES = Gates(lambda key: None, lambda: 0)


class Reporter:
    """Publishes an engine's reports on its two state topics when they are due, and logs what changed.

    :param running: returns how many tasks run in the scope of a constraint.
    :param retain: whether the broker keeps the reports.
    :param presence: returns the session of the connector's latest birth, or None.
    :param contested: returns whether another process uses the name of this one.
    :param gates: what the gates in force say.
    :param watched: what is reported for watchers.
    :param disconnects: returns whether :meth:`publish_down` is called after a run, because that disconnects the connector.
    """

    def __init__(
        self,
        queue: PublishQueue,
        *,
        registers: Registers,
        sync: Sync,
        clock: Clock,
        source: str,
        session: str,
        retain: bool,
        running: Callable[[], int],
        presence: Callable[[], str | None],
        contested: Callable[[], bool] = lambda: False,
        gates: Gates | None = None,
        watched: WatchedState | None = None,
        disconnects: Callable[[], bool] = lambda: False,
    ) -> None:
        self._watched = watched or WatchedState(clock)
        self.runs = self._watched.runs
        self._queue = queue
        self._registers, self._sync, self._clock = registers, sync, clock
        self._names = {"source": source, "session": session}
        self._retain = retain
        self._running, self._gates = running, gates or _NO_GATES
        self._presence, self._contested, self._disconnects = presence, contested, disconnects
        self._constraints_schedule = ReportSchedule(soon=0.002, interval=0.2)
        self._runs_schedule = ReportSchedule(soon=_RUNS_SOON, interval=0.5)
        self._graph_schedule = ReportSchedule(soon=0.002, interval=1.0)
        self._summary_due: float | None = None
        self._begins = False
        self._host_due = 0.0
        self._checked: tuple[int, int, SyncState, int, bool] | None = None
        self._runs_reported = 0  # the revision of the runs in the latest report
        self._has_reported = False
        self.earlier_presence = ""
        """The session of the latest birth, if that was one of an earlier process which could not report its end."""
        self._runs_shown: dict[str, Any] | None = None
        """The latest report of runs, without its time."""

    def check(self) -> None:
        """Schedule the report of constraints if it would show something new."""
        active = len(self.runs) > 0
        contested = self._contested()
        revisions = self._registers.revision, self._gates.revision()
        current = (*revisions, self._sync.state, self._running(), contested)
        if current != self._checked:
            was_contested = self._checked is not None and self._checked[-1]
            self._checked = current
            now = self._clock.monotonic()
            self._constraints_schedule.touch(now)
            # active: other reasons to wait, which no event of a task shows
            if active or contested != was_contested:
                self._runs_schedule.touch(now)
        self._constraints_schedule.repeating = self._runs_schedule.repeating = active
        self._graph_schedule.repeating = active and not self._retain

    def check_runs(self) -> bool:
        """Schedule the report of runs if their counts changed; return whether :meth:`due` changed by that."""
        if self._runs_schedule.is_touched or self.runs.revision == self._runs_reported:
            return False
        return self._runs_schedule.touch(self._clock.monotonic())

    def due(self) -> float | None:
        """Return when a report has to be published, on the monotonic clock, or None."""
        if not self._sync.is_linked:
            return None
        schedules = self._constraints_schedule, self._runs_schedule, self._graph_schedule
        host = self._host_due if self._watched.host_report else None
        return earliest(*(each.due() for each in schedules), host, self._summary_due)

    def publish_due(self) -> None:
        """Publish the reports that are due.

        While changes are still being applied the report of constraints waits: it must never claim a
        constraint that is not in force.
        """
        now = self._clock.monotonic()
        if not self._sync.is_linked:
            return
        if _is_due(self._constraints_schedule, now) and not self._registers.has_changes:
            self._constraints_schedule.sent(now)
            self._publish("constraints", self._constraints_body())
        self._publish_ends()
        if _is_due(self._runs_schedule, now):
            self._runs_schedule.sent(now)
            self._runs_reported = self.runs.revision
            self._publish_runs(up=True)
            if self._watched.graphs_changed():
                self._graph_schedule.touch(now)
        if self._summary_due is not None and self._summary_due <= now:
            self._publish_summary(up=True)
        if _is_due(self._graph_schedule, now):
            self._graph_schedule.sent(now)
            self._publish("graph", self._watched.graph_body(self._head()))
        if self._watched.host_report and self._host_due <= now:
            self._host_due = now + HOST_INTERVAL
            self._publish("host", self._watched.host_body(self._head()))

    def begin(self, run: ActiveRun) -> None:
        """Report a run from now on."""
        self.runs.begin(run)
        self._begins = self._retain

    def publish_begin(self) -> None:
        """Publish that a run has begun, if the broker keeps it: at once, or as soon as there is a link, since the process may die next.

        Its counts follow when they are due. Nothing is published if a run was active before, or this one has ended.
        """
        if not self._begins or not self._sync.is_linked:
            return
        self._begins = False
        if len(self.runs) == 1:
            self._publish_runs(up=True, with_summary=False)

    def publish_end(self) -> None:
        """Publish at once that a run has ended, and, if it was the last active one, the runs: the process may end next.

        The summary of a run that disconnects the connector follows soon, unless that of the disconnect replaces it.
        """
        if self._sync.is_linked:
            self._publish_ends()
        if len(self.runs) == 0 and self._sync.is_linked:
            now = self._clock.monotonic()
            self._runs_schedule.sent(now)
            self._runs_reported = self.runs.revision
            disconnects = self._disconnects()
            self._publish_runs(up=True, with_summary=not disconnects)
            if disconnects:
                self._summary_due = now + _SUMMARY_SOON
            self._publish_changed_graphs()

    def publish_last(self) -> None:
        """Publish that no constraint is in force.

        Also without a link, if there are earlier reports to replace: the connector keeps the latest
        value of these topics until it is linked.
        """
        if self._sync.is_linked or self._has_reported:
            self._publish("constraints", self._constraints_body())
            self._publish_end_of_reports()

    def publish_down(self, *, stopped: bool) -> None:
        """Publish that no further report will come until the connector is connected again.

        :param stopped: publish that no constraint is in force, too: no run is active.
        """
        if self._sync.is_linked or self._has_reported:
            if stopped:
                self._publish("constraints", self._stopped_body())
            self._publish_end_of_reports()

    def last_reports(self, *, down: bool) -> dict[str, str]:
        """Return what the broker would hold of this process if it had a link, by topic.

        :param down: as of a process that is down.
        """
        # only a run with an outbox keeps them
        from cascade.wire.presence import Offline

        head = self._head()
        bodies = {
            "constraints": self._stopped_body() if down else self._constraints_body(),
            "runs": self._runs_body(),
            "ended": self._watched.ended_body(head),
            "summary": self._watched.summary_body(up=not down),
            "graph": self._watched.graph_body(head),
        }
        source, born = self._names["source"], self._presence() or self.earlier_presence
        status = Offline(session=born or self._names["session"], reason=ENDED if down else "")
        messages = {status_topic(source): to_wire(status)}
        messages |= {state_topic(source, kind): body for kind, body in bodies.items()}
        return {topic: encode_payload(body)[0] for topic, body in messages.items()}

    def _constraints_body(self) -> dict[str, Any]:
        return constraints_report(
            self._registers,
            self._gates,
            sync=self._sync.state.value,
            in_scope_running=self._running(),
            presence=self._presence(),
            contested=self._contested(),
            now=self._clock.now(),
            **self._names,
        )

    def _stopped_body(self) -> dict[str, Any]:
        return constraints_report(
            Registers(self._clock),
            sync=SyncState.STOPPED.value,
            in_scope_running=0,
            presence=self._presence(),
            contested=self._contested(),
            now=self._clock.now(),
            **self._names,
        )

    def _publish_end_of_reports(self) -> None:
        """Publish that this engine is down; the runs only if the report of the last one's end shows something else."""
        self._publish_runs(up=False, unless=self._runs_shown)
        self._publish_changed_graphs()

    def _publish_runs(
        self, *, up: bool, unless: dict[str, Any] | None = None, with_summary: bool = True
    ) -> None:
        runs = self._runs_body()
        shown = {**runs, "ts": ""}
        if shown != unless:
            self._publish("runs", runs)
            self._runs_shown = shown
        # an earlier process may have left some
        self._publish_ends()
        if with_summary:
            self._publish_summary(up=up)

    def _runs_body(self) -> dict[str, Any]:
        return self._watched.runs_body({**self._head(), "contested": self._contested()}, self._registers)

    def _publish_summary(self, *, up: bool) -> None:
        self._summary_due = None
        self._publish("summary", self._watched.summary_body(up=up))

    def _publish_ends(self) -> None:
        if self._watched.ends_changed():
            self._publish("ended", self._watched.ended_body(self._head()))

    def _publish_changed_graphs(self) -> None:
        if self._watched.graphs_changed():
            self._publish("graph", self._watched.graph_body(self._head()))

    def _head(self) -> dict[str, Any]:
        return {"v": VERSION, **self._names, "presence": self._presence() or ""}

    def _publish(self, kind: str, body: dict[str, Any]) -> None:
        self._has_reported = True
        self._queue.publish(state_topic(self._names["source"], kind), body, qos=1, retain=self._retain)


def constraints_report(
    registers: Registers,
    gates: Gates = _NO_GATES,
    /,
    *,
    source: str,
    session: str,
    presence: str | None,
    sync: str,
    in_scope_running: int,
    now: float,
    contested: bool = False,
) -> dict[str, Any]:
    """Return the body of ``cascade/state/{source}/constraints``.

    Pauses and the engine's own scopes come first, then the newest registers. What does not fit into
    :data:`MAX_ENTRIES` or :data:`MAX_BYTES` is counted under ``more`` and ``effective_more``.
    """
    report = ConstraintsReport(
        v=VERSION,
        source=source,
        session=session,
        presence=presence or "",
        sync=sync,
        applied={},
        effective=[],
        in_scope_running=in_scope_running,
        ts=timestamp(now),
        over_limit=registers.over_limit,
        contested=contested,
    )
    room = MAX_BYTES - encoded_size(report) - _COUNTS
    entries = _cut(((each.size(), each) for each in registers.reported()), room * 5 // 8)
    rows = _cut(
        _with_gates(registers.effective_rows(), gates.reading), room - sum(each.size() for each in entries)
    )
    return to_wire(
        replace(
            report,
            applied={each.topic: each.entry() for each in entries},
            effective=rows,
            more=max(registers.to_report - len(entries), 0),
            effective_more=max(registers.in_force - len(rows), 0),
        )
    )


def _with_gates(
    rows: Iterable[tuple[int, EffectiveEntry]], gate_of: Callable[[Key], GateReading | None]
) -> Iterator[tuple[int, EffectiveEntry]]:
    """Yield rows with their sizes, those of gates with what they say now."""
    for size, row in rows:
        reading = gate_of((row.scope, row.type)) if is_gate(row.type) else None
        if reading is None:
            yield size, row
            continue
        entry = GateEntry(
            state=reading.state,
            holds=reading.holds,
            value=reading.value,
            since=timestamp(reading.since),
            text=reading.text,
        )
        yield size + encoded_size(entry) + _GATE_KEY, replace(row, gate=entry)


def _cut(parts: Iterable[tuple[int, T]], room: int) -> list[T]:
    """Return the first parts that fit into ``room`` bytes, at most :data:`MAX_ENTRIES`."""
    found: list[T] = []
    for size, part in parts:
        room -= size
        if room < 0 or len(found) == MAX_ENTRIES:
            break
        found.append(part)
    return found


def _is_due(schedule: ReportSchedule, now: float) -> bool:
    due = schedule.due()
    return due is not None and due <= now
