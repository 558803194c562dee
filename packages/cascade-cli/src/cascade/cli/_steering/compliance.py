"""Compliance with a change: which engines obey it, decided from their reports. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, NamedTuple

from cascade.cli._steering.request import Change
from cascade.wire import (
    AppliedEntry,
    ConstraintsReport,
    EffectiveEntry,
    EngineView,
    Parsed,
    RunsReport,
    View,
    seconds,
)
from cascade.wire.view import MAX_ENGINES

APPLIED, REFUSED, NO_MATCH, LOST, SILENT = "applied", "refused", "no_match", "lost", "silent"
SKEW_SECONDS = 15.0
"""Difference of two clocks that is named: reports take seconds on a bad link."""
PENDING, GONE = "", "gone"
ONLINE, ENDED = "online", "ended"  # of EngineView.status, as LOST is
_REFUSALS = ("rejected", "refused", "unsupported", "expired")
_FOLLOWING = ("syncing", "synced", "degraded", "stale")
"""Values of ``sync`` of an engine that follows the broker."""


class Answer(NamedTuple):
    """What one engine does with a change."""

    kind: str
    reason: str = ""
    running: int = 0
    """Tasks in the scope of its constraints that still run."""


class _Before(NamedTuple):
    """What an engine had reported when the change was about to be written."""

    ts: str = ""
    """When its report was written."""
    entries: Mapping[str, AppliedEntry] = MappingProxyType({})
    runs: frozenset[str] = frozenset()


class ComplianceTracker:
    """Follows the engines that were live when a change was written, until each has answered.

    :param view: all messages so far; the caller folds further ones into it.
    :param now: seconds on the clock of the view.
    """

    def __init__(self, change: Change, view: View, *, now: float) -> None:
        self._change = change
        self._view = view
        self._unchanged = change.is_held_by(view.registers.get(change.topic))
        self._before = {
            source: _seen(engine)
            for source, engine in view.engines.items()
            if _concerned(change, engine, now)
        }
        self._written = False
        """Whether the broker has returned the constraint."""
        self._cancelled: set[str] = set()
        self._contested = dict.fromkeys(source for source, each in view.engines.items() if each.contested)

    def get(self, now: float, *, final: bool = False) -> dict[str, Answer]:
        """Return the answer of each engine in the scope, by source.

        :param final: whether the time is over: an engine that has not answered is silent then.
        """
        self._note_newcomers(now)
        answers = {source: self._answer(source, now, final=final) for source in sorted(self._before)}
        return {source: answer for source, answer in answers.items() if answer.kind != GONE}

    def overtaken(self) -> str:
        """Return which other client has done what to the constraint since it was written or cleared; empty if none has."""
        change, held = self._change, self._view.registers
        theirs = next((held[topic] for topic in (change.topic, *change.topics) if topic in held), None)
        client = f"another client{f' ({theirs.by})' if theirs is not None and theirs.by else ''}"
        if change.clears:
            return f"{client} has set it again" if theirs is not None else ""
        if not self._written or change.is_held_by(theirs):
            return ""
        return f"{client} has {'cleared' if theirs is None else 'replaced'} it"

    def held(self, answers: Mapping[str, Answer]) -> list[dict[str, Any]]:
        """Return the engines that obey, and the scopes of other pauses, and the gates, that still hold tasks of the scope there."""
        if not self._change.clears or self._change.type not in ("", "pause"):
            return []
        found = {
            source: sorted({_holder(row) for row in report.effective if self._holds(row)})
            for source, answer in answers.items()
            if answer.kind == APPLIED and (report := self._report(source)) is not None
        }
        return [{"source": source, "by": scopes} for source, scopes in found.items() if scopes]

    def cut(self, answers: Mapping[str, Answer]) -> list[str]:
        """Return the engines whose reports leave out constraints, so that a clear is not known to be obeyed."""
        return [
            source
            for source, answer in answers.items()
            if answer.kind == SILENT
            and self._change.clears
            and (report := self._report(source)) is not None
            and report.more + report.effective_more
        ]

    def unstopped(self, answers: Mapping[str, Answer]) -> Iterator[tuple[str, int]]:
        """Yield the engines where tasks still run that were cancelled, with their number.

        An engine that obeys other constraints, too, counts the tasks of their scopes with them: there it is not known.
        """
        for source, answer in answers.items():
            report = self._report(source)
            if self._change.type != "cancel" or self._change.clears or not answer.running or report is None:
                continue
            if all(row.type == "cancel" for row in report.effective):
                yield source, answer.running

    def skewed(self, answers: Mapping[str, Answer], now: float, wall: float) -> Iterator[tuple[str, float]]:
        """Yield the engines whose clock differs from this machine's, with the seconds it is ahead: of those that obey, and
        of those for which the constraint had expired when it came.

        :param now: seconds on the clock of the view.
        :param wall: seconds since the epoch at the same moment.
        """
        for source, answer in answers.items():
            report, engine = self._report(source), self._view.engines.get(source)
            if report is None or engine is None or engine.heard is None:
                continue
            entry = report.applied.get(self._change.topic)
            if answer.kind != APPLIED and (
                answer.kind != REFUSED or entry is None or entry.status != "expired"
            ):
                continue
            written = seconds(report.ts)
            # a report that came before the change says nothing of the clock now
            if written is not None and report.ts != self._before[source].ts:
                ahead = written - (wall - (now - engine.heard))
                if abs(ahead) > SKEW_SECONDS:
                    yield source, ahead

    def unproved(self, answers: Mapping[str, Answer]) -> list[str]:
        """Return the sources of answers whose session has no birth: any client may have written them."""
        return [
            source
            for source, answer in answers.items()
            if answer.kind in (APPLIED, REFUSED, NO_MATCH) and self._view.engines[source].has_no_birth
        ]

    def contested(self, now: float) -> list[str]:
        """Return the live engines of the scope whose name two processes use: only one of them has answered, if any."""
        engines = self._view.engines
        return sorted(
            source
            for source in self._contested
            if source in engines and engines[source].is_live(now) and _covers(self._change, engines[source])
        )

    def note(self, message: Parsed | None) -> None:
        """Take in a message that the view has, and that the next one replaces there.

        Of two processes of one name, one may not know yet that there are two: its report does not take back what the other one says.
        """
        if self._change.is_held_by(self._view.registers.get(self._change.topic)):
            self._written = True
        if isinstance(message, ConstraintsReport | RunsReport) and message.contested:
            self._contested[message.source] = None
            if len(self._contested) > MAX_ENGINES:
                del self._contested[next(iter(self._contested))]

    def not_waited_for(self, answers: Mapping[str, Answer], now: float) -> list[str]:
        """Return the engines of the scope that are not connected, and of which a process may run on unseen.

        They had runs when their connection was lost, or another process used their name.
        """
        return sorted(
            source
            for source, engine in self._view.engines.items()
            if source not in answers and _may_run_unseen(engine, now) and _covers(self._change, engine)
        )

    def complete(self, now: float, *, drained: bool = False) -> bool:
        """Return whether every engine has answered, and, if asked, no task in the scope runs."""
        return all(
            answer.kind != PENDING and not (drained and answer.kind == APPLIED and answer.running)
            for answer in self.get(now).values()
        )

    def _note_newcomers(self, now: float) -> None:
        """Add engines that are seen only now: without presence they had retained nothing, with it they have come back.

        What such a process reports is seen, too. One that has connected and follows nothing yet is not waited for.
        """
        for source, engine in self._view.engines.items():
            if len(self._before) >= MAX_ENGINES:
                return
            if source not in self._before and _concerned(self._change, engine, now) and _has_followed(engine):
                self._before[source] = _Before()

    def _answer(self, source: str, now: float, *, final: bool) -> Answer:
        engine = self._view.engines.get(source)
        status = LOST if engine is None else engine.status(now)
        if engine is not None and status == ONLINE and not _follows(engine):
            # another process, which runs nothing
            status = ENDED
        if engine is not None and (report := _own_report(engine)) is not None and status == ONLINE:
            found = self._reported(source, report)
            if found.kind != PENDING or not final:
                return found
            return self._late(report)
        if status == ENDED:
            return Answer(APPLIED if self._change.type == "cancel" else GONE)
        return Answer(LOST) if status == LOST else Answer(SILENT if final else PENDING)

    def _reported(self, source: str, report: ConstraintsReport) -> Answer:
        if self._change.clears:
            # what a report leaves out may be in force
            obeyed = self._is_obeyed(report) or report.more or report.effective_more
            return Answer(PENDING if obeyed else APPLIED, running=report.in_scope_running)
        entry = report.applied.get(self._change.topic)
        if entry is None or not self._is_about_this(source, entry, report):
            return Answer(APPLIED if source in self._cancelled else PENDING)
        if entry.status in _REFUSALS:
            return Answer(REFUSED, entry.reason or entry.status)
        if entry.status == NO_MATCH:
            has_cancelled = self._has_cancelled(source)
            return Answer(APPLIED, running=report.in_scope_running) if has_cancelled else Answer(NO_MATCH)
        if self._change.type == "cancel":
            self._cancelled.add(source)
        return Answer(APPLIED, running=report.in_scope_running)

    def _is_obeyed(self, report: ConstraintsReport) -> bool:
        """Whether a report lists a register that the change clears, or another one of its scope and type."""
        change = self._change
        if any(_obeys(report, topic) for topic in (change.topic, *change.topics)):
            return True
        return not change.by_id and any(
            row.scope == change.scope and change.type in ("", row.type) for row in report.effective
        )

    def _holds(self, row: EffectiveEntry) -> bool:
        """Whether a row of what is in force holds tasks that the change was to release."""
        is_closed = row.gate.holds if row.gate else False
        if not (row.type == "pause" or is_closed) or row.topic in (self._change.topic, *self._change.topics):
            return False
        kind, _, value = row.scope.partition(":")
        ours, _, name = self._change.scope.partition(":")
        if ours == kind == "task":
            return fnmatchcase(name, value) or fnmatchcase(value, name)
        return ours != kind or kind not in ("run", "workflow") or name == value

    def _report(self, source: str) -> ConstraintsReport | None:
        engine = self._view.engines.get(source)
        return _own_report(engine) if engine is not None else None

    def _late(self, report: ConstraintsReport) -> Answer:
        """Return the last answer of an engine whose report may be older than the change."""
        entry = report.applied.get(self._change.topic)
        if entry is not None and entry.status in _REFUSALS and not self._change.clears:
            return Answer(REFUSED, entry.reason or entry.status)
        return Answer(SILENT)

    def _has_cancelled(self, source: str) -> bool:
        """Whether a run that is no longer here has been cancelled here."""
        run_id = self._change.scope.removeprefix("run:")
        ran = run_id in self._before[source].runs or source in self._cancelled
        return self._change.type == "cancel" and ran

    def _is_about_this(self, source: str, entry: AppliedEntry, report: ConstraintsReport) -> bool:
        """Return whether a report is about this change, not about what the register held before."""
        assert self._change.message is not None
        if self._unchanged:
            return True
        ours = entry.id == self._change.message["id"] or entry.status in _REFUSALS
        before = self._before[source]
        if not ours or entry != before.entries.get(self._change.topic):
            return ours
        if entry.status == NO_MATCH:
            # of the cancel before; a run that is not here stays so
            return self._change.scope.startswith("run:") or report.ts != before.ts
        rows = [row for row in report.effective if row.scope == self._change.scope]
        return any(_shows(row, self._change) for row in rows)


def outcome(change: Change, answers: Mapping[str, Answer]) -> dict[str, Any]:
    """Return the answers as the command prints them in JSON."""

    def named(*kinds: str) -> Iterator[tuple[str, Answer]]:
        return ((source, answer) for source, answer in answers.items() if answer.kind in kinds)

    found: dict[str, Any] = {
        "topic": change.topic,
        "applied": [source for source, _ in named(APPLIED)],
        "refused": [{"source": source, "reason": answer.reason} for source, answer in named(REFUSED)],
        "unknown": [{"source": source, "why": answer.kind} for source, answer in named(LOST, SILENT)],
        "no_match": [source for source, _ in named(NO_MATCH)],
        "running": sum(answer.running for _, answer in named(APPLIED)),
    }
    if len(change.topics) > 1:
        found["topics"] = list(change.topics)
    return found


def _seen(engine: EngineView) -> _Before:
    runs = frozenset(row.run_id for row in engine.runs.runs) if engine.runs is not None else frozenset[str]()
    if engine.constraints is None:
        return _Before(runs=runs)
    return _Before(engine.constraints.ts, dict(engine.constraints.applied), runs)


def _concerned(change: Change, engine: EngineView, now: float) -> bool:
    """Return whether an engine is live, follows the broker, and may be in the scope.

    A process may have connected and not have run anything yet. Every engine answers for ``workflow:``, ``run:`` and ``task:``.
    """
    return _follows(engine) and _covers(change, engine) and engine.status(now) == ONLINE


def _follows(engine: EngineView) -> bool:
    """Return whether the process that is online follows the broker, as far as it has reported."""
    report = _own_report(engine)
    return report is None or report.sync in _FOLLOWING


def _has_followed(engine: EngineView) -> bool:
    """Return whether a process of the name has reported that it follows the broker, or none has presence."""
    return engine.presence is None or (engine.constraints is not None and engine.sync in _FOLLOWING)


def _may_run_unseen(engine: EngineView, now: float) -> bool:
    """Return whether a process that is not connected may run on: one that has said that it ends does not."""
    status = engine.status(now)
    if status == LOST:
        return engine.contested or bool(engine.runs is not None and engine.runs.runs)
    return status == ENDED and engine.contested


def _covers(change: Change, engine: EngineView) -> bool:
    """Return whether an engine may be in the scope of a change."""
    kind, _, value = change.scope.partition(":")
    covered = {"source": engine.source == value, "project": engine.project_id in ("", value)}
    return covered.get(kind, True)


def _own_report(engine: EngineView) -> ConstraintsReport | None:
    """Return what the process that is online has reported; what another session has left is not an answer."""
    return None if engine.reports_of_another else engine.constraints


def _obeys(report: ConstraintsReport, topic: str) -> bool:
    entry = report.applied.get(topic)
    listed = entry is not None and entry.status not in ("expired", NO_MATCH)
    return listed or any(row.topic == topic for row in report.effective)


def _holder(row: EffectiveEntry) -> str:
    return row.scope if row.type == "pause" else f"{row.type} of {row.scope}"


def _shows(row: EffectiveEntry, change: Change) -> bool:
    """Return whether a row of what is in force is this change, or another register that is stricter."""
    assert change.message is not None
    if row.type != change.type:
        return False
    if row.topic != change.topic:
        return True
    return (
        row.id == change.message["id"]
        and row.expires_at == change.message["expires_at"]
        and all(row.params.get(key) == value for key, value in change.message["params"].items())
    )
