"""Recorded runs in memory: the smallest state backend that keeps the contract, for tests."""

from __future__ import annotations

import copy
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cascade.interfaces import (
    NO_EVENTS,
    Earlier,
    PendingEvent,
    Plan,
    RecordedStatus,
    Resume,
    RunEndedError,
    RunInfo,
    RunInputsError,
    RunInUseError,
    RunStatus,
    RunSummary,
    StepEvents,
    StepRecord,
    StepState,
    StepSummary,
    UnreadableResultError,
    UnstorableValueError,
)

_KEPT = (StepState.COMPLETED, StepState.EXPANDED)
_INTERRUPTED = (RecordedStatus.INTERRUPTED, None, "")
_IN_FLIGHT = (StepState.STARTED, StepState.IN_DOUBT)


@dataclass(slots=True, eq=False)
class StoredRun:
    """One run of a :class:`MemoryState`."""

    info: RunInfo
    created: float
    status: RecordedStatus = RecordedStatus.RUNNING
    ended: float | None = None
    error: str = ""
    attempts: int = 0
    journal: MemoryJournal | None = None
    """The one that is open."""
    steps: dict[str, StepRecord] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    events: dict[int, PendingEvent] = field(default_factory=dict)
    """Those that are not settled, by number."""
    deaths: int = 0
    """How often in a row a process died with no step recorded in between."""


class MemoryState:
    """A :class:`cascade.interfaces.StateBackend` in the memory of this process.

    :param runs: where the runs are; several backends with one dict are as several processes with
        one store.
    """

    def __init__(self, runs: dict[str, StoredRun] | None = None) -> None:
        self._runs = {} if runs is None else runs
        self._journals: set[MemoryJournal] = set()

    async def open(self, run: RunInfo, *, resume: Resume = Resume.AUTO) -> MemoryJournal:
        """Begin a run, or the next attempt of a recorded one."""
        stored = self._runs.get(run.run_id)
        earlier = None if stored is None else self._continued(stored, run, Resume(resume))
        if stored is None:
            info = replace(run, params=_copied(run.params or {}), secrets=_copied(run.secrets))
            stored = self._runs[run.run_id] = StoredRun(info, time.time())
        stored.attempts += 1
        journal = stored.journal = MemoryJournal(self, stored, earlier)
        stored.status, stored.ended, stored.error = RecordedStatus.RUNNING, None, ""
        self._journals.add(journal)
        return journal

    def runs(
        self,
        *,
        status: RecordedStatus | None = None,
        target: str | None = None,
        since: float | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[RunSummary]:
        """Return the newest runs first."""
        found = [_summary(run) for run in self._runs.values()]
        chosen = [
            run
            for run in reversed(found)
            if (status is None or run.status is status)
            and (target is None or run.target == target)
            and (since is None or run.created >= since)
            and run_id in (None, run.run_id)
        ]
        return sorted(chosen, key=lambda run: run.created, reverse=True)[:limit]

    def steps(self, run_id: str, *, state: StepState | None = None) -> Iterator[StepSummary]:
        """Yield the steps of a run in the order of their keys."""
        stored = self._runs.get(run_id)
        for key, step in sorted(stored.steps.items() if stored else ()):
            shown = _shown(step)
            if state is None or shown is state:
                size = len(repr(stored.values[key])) if stored and key in stored.values else 0
                times = (step.began, step.ended or None)
                yield StepSummary(key, step.name, shown, step.starts, step.tries, *times, step.error, size)

    async def forget(self, run_id: str) -> None:
        """Delete a run."""
        stored = self._runs.get(run_id)
        if stored is not None:
            self._check_free(stored)
            del self._runs[run_id]

    async def close(self) -> None:
        """Close every journal."""
        for journal in [*self._journals]:
            await journal.close()

    def lose(self) -> None:
        """Do what the death of the process would: journals are gone, and what was committed stays."""
        for journal in [*self._journals]:
            journal.lose()

    def release(self, journal: MemoryJournal, run: StoredRun) -> None:
        """Let other backends have the run."""
        self._journals.discard(journal)
        run.journal = None

    def _check_free(self, stored: StoredRun) -> None:
        if stored.journal is not None:
            raise RunInUseError(
                stored.info.run_id, pid=os.getpid(), host=platform.node(), since=stored.journal.began
            )

    def _continued(self, stored: StoredRun, run: RunInfo, resume: Resume) -> Earlier:
        self._check_free(stored)
        status = stored.status
        if status is RecordedStatus.RUNNING:
            status = RecordedStatus.INTERRUPTED
        if status is RecordedStatus.CANCELLED and resume is not Resume.CANCELLED:
            raise RunEndedError(run.run_id, status)
        recorded = stored.info.params or {}
        if run.params is not None:
            _compare(run.run_id, recorded, run.params)
        common = {name: value for name, value in stored.info.secrets.items() if name in run.secrets}
        _compare_secrets(run.run_id, common, run.secrets)
        kept = sum(step.state in _KEPT for step in stored.steps.values())
        pending = [stored.events[number] for number in sorted(stored.events)]
        return Earlier(status, _copied(recorded), stored.info.shape, kept, stored.error, pending)


class MemoryJournal:
    """A :class:`cascade.interfaces.Journal`; :class:`MemoryState` makes it."""

    stalled = False

    def __init__(self, state: MemoryState, run: StoredRun, earlier: Earlier | None) -> None:
        self.began = time.time()
        self._state = state
        self._run = run
        self._earlier = earlier
        self._before = None if earlier is None else (earlier.status, run.ended, earlier.error)
        """How the run stood; None once this attempt has recorded anything, and for a new run."""
        self._attempt = run.attempts
        last = max((step.attempt for step in run.steps.values()), default=0)
        self._known = {
            key: step._replace(deaths=min(run.deaths, step.starts))
            if step.state in _IN_FLIGHT and step.attempt == last
            else step
            for key, step in run.steps.items()
        }
        self._queued: list[StepRecord] = []
        self._settled = 0
        self._kept_any = self._started_any = False

    @property
    def attempt(self) -> int:
        """Which attempt of the run this is, from 1."""
        return self._attempt

    @property
    def earlier(self) -> Earlier | None:
        """What was recorded before this attempt."""
        return self._earlier

    async def writable(self) -> None:
        """Return: memory is always writable."""

    def known(self, key: str) -> StepRecord | None:
        """Return what was recorded of a step before this attempt."""
        return self._known.get(key)

    def known_keys(self, *states: StepState) -> Iterable[str]:
        """Return the keys of all steps that are known, or of those in one of these states."""
        return [key for key, step in self._known.items() if not states or step.state in states]

    async def load(self, key: str) -> Any:
        """Return a recorded value or plan."""
        if key not in self._run.values:
            raise UnreadableResultError(key, "none is recorded")
        return _copied(self._run.values[key])

    async def load_all(self, keys: Sequence[str]) -> list[Any]:
        """Return recorded values and plans, and errors in the places of those that cannot be read."""
        return [
            _copied(self._run.values[key])
            if key in self._run.values
            else UnreadableResultError(key, "none is recorded")
            for key in keys
        ]

    async def discard(self, keys: Iterable[str]) -> None:
        """Delete what is recorded of these steps."""
        self.commit()
        self._before = None
        for key in [*keys]:
            self.delete(key)
            self._known.pop(key, None)

    def started(self, key: str, *, name: str, inputs: bytes, code: bytes) -> None:
        """Record a start with the next commit."""
        self._queue(self._started(key, StepState.STARTED, name, inputs, code))

    async def started_for_certain(self, key: str, *, name: str, inputs: bytes, code: bytes) -> None:
        """Record a start before the call."""
        self._queue(self._started(key, StepState.IN_DOUBT, name, inputs, code))
        self.commit()

    def retrying(self, key: str, *, tries: int, not_before: float, error: str) -> None:
        """Record a failed try with the next commit."""
        step = self._latest(key)
        self._queue(step._replace(state=StepState.RETRYING, tries=tries, not_before=not_before, error=error))

    async def completed(
        self, key: str, value: Any, *, events: Callable[[], StepEvents] = StepEvents, error: str = ""
    ) -> bool:
        """Record a value; return whether it is kept."""
        self.commit()
        self.keep_events(events())
        try:
            self.keep(key, StepState.COMPLETED, value, error=error)
        except UnstorableValueError:
            if self._latest(key).state is not StepState.IN_DOUBT:
                self.delete(key)
            return False
        return True

    async def expanded(
        self, key: str, plan: Plan, *, replaces: str | None = None, events: StepEvents = NO_EVENTS
    ) -> None:
        """Record a plan; delete an earlier turn."""
        self.commit()
        self.keep_events(events)
        copied = _copied(plan)
        for below in [each for each in self._run.steps if replaces and each.startswith(replaces)]:
            self.delete(below)
        self.keep(key, StepState.EXPANDED, copied)

    def settled(self, before: int) -> None:
        """Forget events with the next commit."""
        self._settled = before

    async def failed(self, key: str, error: str) -> None:
        """Record a final failure."""
        self._queue(self._latest(key)._replace(state=StepState.FAILED, error=error, ended=time.time()))
        self.commit()

    async def end(self, status: RunStatus, error: str = "") -> None:
        """Record how the run ended, and release it."""
        self.commit()
        self.keep_events(NO_EVENTS)
        self._run.status, self._run.error = RecordedStatus(status.value), error
        before = self._before
        stands = before is not None and before[0].value == status.value == RunStatus.SUCCEEDED.value
        self._run.ended = before[1] if before is not None and stands else time.time()
        await self.close()

    async def close(self) -> None:
        """Commit what is queued, and release the run."""
        if self._run.journal is self:
            self.commit()
            if self._run.status is RecordedStatus.RUNNING:
                self._run.status, self._run.ended, self._run.error = self._before or _INTERRUPTED
            if self._started_any:  # an attempt that was refused is none
                self._run.deaths = 0
            self._state.release(self, self._run)

    def lose(self) -> None:
        """Do what the death of the process would."""
        self._queued.clear()
        self._run.deaths = 1 if self._kept_any else self._run.deaths + 1
        self._state.release(self, self._run)

    def keep_events(self, events: StepEvents) -> None:
        """Record events; forget those that are settled."""
        self._run.events |= {event.number: event for event in events.pending}
        for number in [each for each in self._run.events if each < self._settled]:
            del self._run.events[number]

    def commit(self) -> None:
        """Record what is queued."""
        for step in self._queued:
            self._run.steps[step.key] = step
        self._queued.clear()

    def keep(self, key: str, state: StepState, value: Any, *, error: str = "") -> None:
        """Record a value or a plan."""
        self._before = None
        self._run.values[key] = _copied(value)
        step = self._latest(key)._replace(state=state, error=error, ended=time.time(), attempt=self._attempt)
        self._run.steps[key] = step
        self._kept_any = True

    def delete(self, key: str) -> None:
        """Delete what is recorded of a step."""
        self._run.steps.pop(key, None)
        self._run.values.pop(key, None)

    def _queue(self, step: StepRecord) -> None:
        self._before = None
        self._queued.append(step)

    def _latest(self, key: str) -> StepRecord:
        queued = next((step for step in reversed(self._queued) if step.key == key), None)
        return queued or self._run.steps.get(key) or StepRecord(key, StepState.STARTED)

    def _started(self, key: str, state: StepState, name: str, inputs: bytes, code: bytes) -> StepRecord:
        before = self._latest(key)
        self._started_any = True
        return StepRecord(
            key,
            state,
            name,
            inputs,
            code,
            attempt=self._attempt,
            starts=before.starts + 1,
            tries=before.tries if before.attempt == self._attempt else 0,
            began=time.time(),
        )


def _summary(run: StoredRun) -> RunSummary:
    status = run.status
    if status is RecordedStatus.RUNNING and run.journal is None:
        status = RecordedStatus.INTERRUPTED
    counts = Counter(map(_shown, run.steps.values()))
    info = run.info
    return RunSummary(
        info.run_id, info.target, status, run.attempts, run.created, run.ended, run.error, info.by, counts
    )


def _shown(step: StepRecord) -> StepState:
    """Return the state that lists show: a step whose failure a call keeps has a result, and has failed."""
    return StepState.FAILED if step.state is StepState.COMPLETED and step.error else step.state


def _compare(run_id: str, recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    other = sorted(name for name in {*recorded, *given} if recorded.get(name) != given.get(name))
    if other:
        first = other[0]
        raise RunInputsError(
            run_id, tuple(other), f"{first}={recorded.get(first)!r}, and is given {given.get(first)!r}"
        )


def _compare_secrets(run_id: str, recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    other = tuple(name for name in recorded if recorded[name] != given[name])
    if other:
        raise RunInputsError(run_id, other, f"another value of {other[0]}")


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception as exc:
        raise UnstorableValueError(value, f"cannot be recorded: {str(exc) or type(exc).__name__}") from exc
