"""Engines, runs and registers, as all messages so far show them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from cascade.interfaces.topics import DATA, LOGS, parse_ack_topic, parse_state_topic, parse_status_topic
from cascade.interfaces.wire import LOST
from cascade.wire.ended import EndedReport
from cascade.wire.engine_view import EngineView, Listed
from cascade.wire.events import DataBody, LogBody
from cascade.wire.parsed import Cleared, EventMessage, Parsed, Presence, Register, Report, Store, parse
from cascade.wire.reading import seconds
from cascade.wire.reports import (
    Acknowledgement,
    AppliedEntry,
    ConstraintsReport,
    RecentRun,
    RunsReport,
)
from cascade.wire.run_view import Room, RunView

MAX_ENGINES = 1_000
MAX_RUNS = 1_000
MAX_REGISTERS = 11_000
MAX_SESSIONS = 8
"""Engines that share one source whose runs are distinguished."""
MAX_LINES = 1_000
"""Lines of logs that are kept, of all runs together."""
MAX_DATA = 1_000
"""Published values that are kept, of all runs together."""
MAX_BYTES = 1 << 26
"""Of all retained messages that are kept: beyond it the engines heard of least recently are forgotten."""


class View:
    """The state of everything that messages have shown so far. No I/O; memory has a bound.

    Feed it what a subscription to ``cascade/#`` delivers, or a part of that.
    """

    def __init__(self) -> None:
        self.engines: dict[str, EngineView] = {}
        """By source; the one with the latest message is the last."""
        self.runs: dict[tuple[str, str], RunView] = {}
        """By source and ``run_id``; the one with the latest message is the last."""
        self.registers: dict[str, Register] = {}
        """By topic."""
        self.logs: deque[EventMessage] = deque(maxlen=MAX_LINES)
        """The latest lines of logs: events whose content is a :class:`LogBody`; the latest is the last."""
        self.data: dict[tuple[str, str, str], EventMessage] = {}
        """The latest event with a :class:`DataBody` by source, ``run_id`` and name; the latest is the last."""
        self.store = ""
        """Identity of the broker's store; empty before it is known."""
        self.not_understood = 0
        """Messages that are malformed, or on a topic that is not read, such as an echo of a sync, and events on
        the topic of a project that is not their source's."""
        self.has_retained = False
        """Whether a retained message has come: the broker shows what it holds, so what is missing is not there."""
        self.left_out = 0
        """Registers that are not kept, because there are too many."""
        # of engines and runs, those of which only events have come, the latest last: any client may invent them
        self._events_only: dict[str, None] = {}
        self._unreported: dict[tuple[str, str], None] = {}
        self._now = 0.0
        self._room = Room()
        self._sizes = _Sizes()

    def fold(
        self, topic: str, payload: bytes | bytearray, *, now: float, retained: bool = False
    ) -> Parsed | None:
        """Take one message; return it parsed, or None if it is not understood.

        :param now: seconds on the reader's clock, any clock that does not go back.
        :param retained: whether the broker had kept it: then it does not show that its engine lives.
        """
        self._now = now
        message = self._understood(parse(topic, payload))
        self.has_retained |= retained
        heard = None if retained else now
        if isinstance(message, Report | Acknowledgement):
            self._fold_report(topic, message, heard, len(payload))
            return message
        match message:
            case EventMessage():
                self._fold_event(message, now)
            case Presence():
                self._fold_presence(message, heard)
            case Register():
                self._fold_register(message, len(payload))
            case Store():
                self.store = message.store
            case Cleared():
                self._clear(message.topic)
            case None:
                self.not_understood += 1
        return message

    def _fold_report(
        self, topic: str, message: Report | Acknowledgement, heard: float | None, size: int
    ) -> None:
        match message:
            case ConstraintsReport():
                self._fold_constraints(message, heard)
            case RunsReport():
                self._fold_runs(message, heard)
            case _:
                self._replace_part(topic, message, heard)
        if isinstance(message, EndedReport):
            self._fold_ends(message.source, message.runs)
        self._weigh(topic, size)

    def live(self, now: float) -> list[EngineView]:
        """Return the engines that are online or have reported in the last 12 s, by source."""
        return [engine for _, engine in sorted(self.engines.items()) if engine.is_live(now)]

    def without_state(self, now: float) -> list[EngineView]:
        """Return the engines of which only events have come for 12 s, by source.

        That means something only once all retained messages have arrived.
        """
        found = [engine for engine in self.engines.values() if engine.has_no_state(now)]
        return sorted(found, key=lambda engine: engine.source)

    def compliance(self, topic: str, now: float) -> dict[str, AppliedEntry]:
        """Return what each live engine does with a register, by source; others have not answered."""
        return {
            engine.source: engine.constraints.applied[topic]
            for engine in self.live(now)
            if engine.constraints is not None
            and topic in engine.constraints.applied
            and not engine.reports_of_another
        }

    def run(self, source: str, run_id: str, *, by_event: bool = False) -> RunView:
        """Return the view of a run; make it if it is new.

        :param by_event: only an event shows it: if there are too many runs, such runs are forgotten first.
        """
        key = (source, run_id)
        known = self.runs.pop(key, None)
        run = known or RunView(source, run_id, self._room)
        self.runs[key] = run
        _note(self._unreported, key, by_event=by_event, is_new=known is None)
        if len(self.runs) > MAX_RUNS:
            dropped = next(iter(self._unreported), None) or next(iter(self.runs))
            self._unreported.pop(dropped, None)
            self.runs.pop(dropped).forget_tasks()
        return run

    def _engine(self, source: str, heard: float | None = None, *, by_event: bool = False) -> EngineView:
        known = self.engines.pop(source, None)
        engine = known or EngineView(source, seen=self._now)
        self.engines[source] = engine
        _note(self._events_only, source, by_event=by_event, is_new=known is None)
        if heard is not None:
            engine.heard = heard
            if engine.first_heard is None:
                engine.first_heard = heard
            if engine.presence is not None and not engine.presence.session:
                # the will of an engine without a name, which is connected again
                engine.presence = None
        if len(self.engines) > MAX_ENGINES:
            self._forget(next(iter(self._events_only), None) or next(iter(self.engines)))
        return engine

    def _forget(self, source: str) -> None:
        del self.engines[source]
        self._events_only.pop(source, None)
        self._sizes.drop(source)

    def _weigh(self, topic: str, size: int) -> None:
        self._sizes.set(*_owner(topic), size)
        while self._sizes.total > MAX_BYTES and len(self.engines) > 1:
            self._forget(next(iter(self.engines)))

    def _replace_part(self, topic: str, message: Parsed, heard: float | None) -> None:
        """Replace the part of an engine's view that a topic holds."""
        source, kind = _owner(topic)
        # the collector wrote it: it does not show that the engine lives
        by_engine = kind != "ack"
        setattr(self._engine(source, heard if by_engine else None), kind, message)

    def _understood(self, message: Parsed | None) -> Parsed | None:
        """Return a message, and None in place of an event that counts for another project."""
        is_foreign = isinstance(message, EventMessage) and not self._is_of_its_project(message)
        return None if is_foreign else message

    def _is_of_its_project(self, event: EventMessage) -> bool:
        """Return whether an event is on a topic of the project that its source reports, or else of the run's first event.

        A broker's rules decide who may write which project's topics; the source in a message is only a claim.
        """
        engine, run = self.engines.get(event.source), self.runs.get((event.source, event.run_id))
        place = engine.place if engine is not None else None
        if place is None and run is not None:
            place = run.place
        return place in (None, (event.org_id, event.project_id))

    def _fold_event(self, event: EventMessage, now: float) -> None:
        if event.source:
            self._engine(event.source, now, by_event=True).project_id = event.project_id
        run = self.run(event.source, event.run_id, by_event=True)
        run.place = (event.org_id, event.project_id)
        if not run.fold(event):
            return
        if event.kind == LOGS and isinstance(event.content, LogBody):
            self.logs.append(event)
        elif event.kind == DATA and isinstance(event.content, DataBody):
            self._fold_data(event, event.content.name)

    def _fold_data(self, event: EventMessage, name: str) -> None:
        key = (event.source, event.run_id, name)
        self.data.pop(key, None)
        self.data[key] = event
        if len(self.data) > MAX_DATA:
            del self.data[next(iter(self.data))]

    def _fold_constraints(self, report: ConstraintsReport, heard: float | None) -> None:
        engine = self._engine(report.source, heard)
        engine.constraints = report
        since = engine.applied_since
        engine.applied_since = {
            topic: since.get(topic, seconds(report.ts) or 0.0)
            for topic, row in report.applied.items()
            if row.status == "applied"
        }

    def _fold_runs(self, report: RunsReport, heard: float | None) -> None:
        engine = self._engine(report.source, heard)
        engine.runs = report
        engine.project_id = report.project_id or engine.project_id
        self._take_place(engine, report)
        now_listed = frozenset(row.run_id for row in report.runs)
        before = engine.listed.pop(report.session, Listed()).runs
        replaced = self._take_replaced(engine, report.presence)
        lost = set[str]() if engine.contested else replaced
        engine.listed[report.session] = Listed(report.presence, now_listed)
        if len(engine.listed) > MAX_SESSIONS:
            del engine.listed[next(iter(engine.listed))]
        self._fold_ends(report.source, report.recent)
        for row in report.runs:
            self.run(report.source, row.run_id).report(row)
        for run_id in before - now_listed if not report.more else ():
            if (run := self.runs.get((report.source, run_id))) is not None:
                run.unlisted()
        for run_id in lost - now_listed:
            if (run := self.runs.get((report.source, run_id))) is not None:
                run.lost()

    def _take_place(self, engine: EngineView, report: RunsReport) -> None:
        """Note the project that an engine reports, and forget what events of other projects have shown of it."""
        place = (report.org_id, report.project_id)
        if not report.project_id or place == engine.place:
            return
        engine.place = place
        source = engine.source
        foreign = {
            run.run_id
            for run in self.runs.values()
            if run.source == source and run.place not in (None, place)
        }
        for run_id in foreign:
            self.runs.pop((source, run_id)).forget_tasks()
            self._unreported.pop((source, run_id), None)
        if foreign:
            kept = [each for each in self.logs if each.source != source or each.run_id not in foreign]
            self.logs = deque(kept, maxlen=MAX_LINES)
            for key in [key for key in self.data if key[0] == source and key[1] in foreign]:
                del self.data[key]

    def _take_replaced(self, engine: EngineView, presence: str) -> set[str]:
        """Return the runs that were listed under another presence, and forget the reports that listed them.

        Their process has died, unless two use the name: another one has been born under it. A process that lives lists
        its runs again after each birth of its own.
        """
        replaced = [
            session
            for session, each in engine.listed.items()
            if presence and each.presence not in ("", presence)
        ]
        return set[str]().union(*(engine.listed.pop(session).runs for session in replaced))

    def _fold_ends(self, source: str, rows: Sequence[RecentRun]) -> None:
        """Take runs that have ended, the latest last; a row that came before changes nothing."""
        newest = {row.run_id: row for row in reversed(rows)}
        report = self.engines[source].runs
        # under such an id, an earlier attempt has ended
        active = {row.run_id: row.token for row in report.runs} if report is not None else {}
        for run_id, row in newest.items():
            token = active.get(run_id)
            # one that is active is lost only in the eyes of another process of the name
            if token is not None and not (token and token == row.token and row.status != LOST):
                continue
            known = self.runs.get((source, run_id))
            if known is None or not known.has_end(row):
                self.run(source, run_id).report_end(row)

    def _fold_presence(self, presence: Presence, heard: float | None) -> None:
        engine = self._engine(presence.source)
        before = engine.presence
        if (
            not presence.online
            and before is not None
            and before.online
            and presence.session != before.session
        ):
            # a late will of an earlier connection: the process answers it with its birth
            return
        if before is None or presence.session != before.session:
            engine.born = heard
        engine.presence = presence

    def _fold_register(self, register: Register, size: int) -> None:
        topic = register.topic
        room = MAX_BYTES - self._sizes.registers + self._sizes.of_register(topic)
        if (topic in self.registers or len(self.registers) < MAX_REGISTERS) and size <= room:
            self.registers[topic] = register
            self._sizes.set_register(topic, size)
        else:
            self.left_out += 1

    def _clear(self, topic: str) -> None:
        if self.registers.pop(topic, None) is not None:
            self._sizes.set_register(topic, 0)
        source, kind = _owner(topic)
        engine = self.engines.get(source)
        if engine is None:
            return
        held = getattr(engine, kind) is not None
        setattr(engine, kind, None)
        self._sizes.set(source, kind, 0)
        if engine.is_empty:
            self._forget(engine.source)
        elif (
            held and engine.only_events
        ):  # beside an acknowledgement: the last that it said of itself is gone
            engine.heard = engine.first_heard = None


def _note(seen_by_events: dict[Any, None], key: Any, *, by_event: bool, is_new: bool) -> None:
    """Keep what only events have shown in the order of the latest event."""
    was_seen = key in seen_by_events
    seen_by_events.pop(key, None)
    if by_event and (was_seen or is_new):
        seen_by_events[key] = None


def _owner(topic: str) -> tuple[str, str]:
    """Return the source and the part of its view that a retained topic holds."""
    if (found := parse_state_topic(topic)) is not None:
        return found
    if (source := parse_ack_topic(topic)) is not None:
        return source, "ack"
    return parse_status_topic(topic) or "", "presence"


class _Sizes:
    """The sizes in bytes of the messages that are kept, which bound what they take in memory."""

    def __init__(self) -> None:
        self.total = 0
        """Of the reports of engines."""
        self.registers = 0
        self._reports: dict[str, dict[str, int]] = {}  # by source and kind
        self._registers: dict[str, int] = {}  # by topic

    def set(self, source: str, kind: str, size: int) -> None:
        kinds = self._reports.setdefault(source, {})
        self.total += size - kinds.get(kind, 0)
        kinds[kind] = size

    def drop(self, source: str) -> None:
        self.total -= sum(self._reports.pop(source, {}).values())

    def of_register(self, topic: str) -> int:
        return self._registers.get(topic, 0)

    def set_register(self, topic: str, size: int) -> None:
        self.registers += size - self._registers.pop(topic, 0)
        if size:
            self._registers[topic] = size
