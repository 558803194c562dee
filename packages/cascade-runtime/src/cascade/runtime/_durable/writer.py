"""The thread of a run's file: it encodes, commits what waits at once, and tries again while the file fails."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cascade.interfaces import (
    Clock,
    RunInUseError,
    StateUnavailable,
    StepEvents,
    StepState,
    UnreadableResultError,
    UnstorableValueError,
)
from cascade.interfaces.logs import get_logger
from cascade.runtime._durable.crash_points import reach
from cascade.runtime._durable.results import ResultCodec, Stored, with_own_file
from cascade.runtime._durable.run_file import Before, RunFile
from cascade.runtime._durable.schema import rescue_of
from cascade.runtime._storage.database import cause_of, is_damaged, is_full
from cascade.runtime._storage.group_commit import Request
from cascade.transport.state_log import StateLog


@dataclass(slots=True, eq=False)
class Operation(Request):
    """One request. ``encode`` is called once, ``apply`` in each try of the transaction."""

    writes: ClassVar[bool] = True
    point: ClassVar[str] = ""
    """Crash point that is reached when it is committed."""

    def encode(self, codec: ResultCodec) -> None:
        """Prepare what does not need the file; an error is this request's own."""

    def apply(self, file: RunFile, codec: ResultCodec) -> None:
        """Change the file, or read it, and set the result."""


@dataclass(slots=True, eq=False)
class Wait(Operation):
    """Complete when all before it is done."""

    writes: ClassVar[bool] = False


@dataclass(slots=True, eq=False)
class Load(Operation):
    """Read a value."""

    writes: ClassVar[bool] = False
    key: str

    def apply(self, file: RunFile, codec: ResultCodec) -> None:
        """Set the value as the result; what makes it unreadable is this request's own error."""
        (found,) = _values([self.key], file, codec)
        if isinstance(found, UnreadableResultError):
            self.error = found
        else:
            self.result = found


@dataclass(slots=True, eq=False)
class LoadAll(Operation):
    """Read many values, with one wake-up of the caller; what makes one unreadable stands in its place."""

    writes: ClassVar[bool] = False
    keys: Sequence[str]

    def apply(self, file: RunFile, codec: ResultCodec) -> None:
        """Set the list of values as the result."""
        self.result = _values(self.keys, file, codec)


def _values(keys: Sequence[str], file: RunFile, codec: ResultCodec) -> list[Any]:
    rows = file.results(keys)
    values = dict(zip(rows, codec.decode_all([*rows.values()], file.paths.folder), strict=True))
    return [values[key] if key in values else UnreadableResultError(key, "none is recorded") for key in keys]


@dataclass(slots=True, eq=False)
class Start(Operation):
    """Record a start."""

    key: str
    state: StepState
    name: str
    inputs: bytes
    code: bytes
    now: float

    def apply(self, file: RunFile, codec: ResultCodec) -> None:
        """Insert the step, or count one more start."""
        file.start(self.key, self.state, self.name, self.inputs, self.code, self.now)


@dataclass(slots=True, eq=False)
class Retry(Operation):
    """Record a failed try."""

    point: ClassVar[str] = "retry-recorded"
    key: str
    tries: int
    not_before: float
    problem: str

    def apply(self, file: RunFile, codec: ResultCodec) -> None:
        """Update the step."""
        file.retry(self.key, tries=self.tries, not_before=self.not_before, error=self.problem)


@dataclass(slots=True, eq=False)
class Encode(Operation):
    """Encode a value that is to be recorded next; the result is its row."""

    writes: ClassVar[bool] = False
    key: str
    value: Any

    def encode(self, codec: ResultCodec) -> None:
        """Encode the value, and release it; that it cannot be stored is this request's own error."""
        try:
            self.result = codec.encode(self.key, self.value)
        finally:
            self.value = None


@dataclass(slots=True, eq=False)
class Keep(Operation):
    """Record a value, and the events that may be lost: these also if the value cannot be stored."""

    key: str
    value: Any
    now: float
    events: StepEvents
    problem: str = ""
    """Why the step failed, if the value stands for a failure."""
    stored: Stored | None = None
    """The row of the value, if it is encoded already."""
    unstorable: UnstorableValueError | None = field(default=None, init=False)
    start: Start | None = field(default=None, init=False)
    """The start of the step, if it is recorded with the same statement."""

    def encode(self, codec: ResultCodec) -> None:
        """Encode the value, and release it."""
        if self.stored is not None:
            return
        try:
            self.stored = codec.encode(self.key, self.value)
        except UnstorableValueError as exc:
            self.unstorable = exc
        self.value = None

    def apply(self, file: RunFile, codec: ResultCodec) -> None:
        """Insert the events and the result; that it cannot be stored is this request's own error."""
        file.keep_events(self.events.pending)
        if self.stored is None:
            if self.start is not None:
                self.start.apply(file, codec)
            self.error = self.unstorable
        else:
            self.keep(file, self.stored)

    def keep(self, file: RunFile, stored: Stored) -> None:
        """Insert the result."""
        event, start = (self.events.seq, self.events.token), self.start
        if start is None:
            file.keep(StepState.COMPLETED, stored, now=self.now, event=event, error=self.problem)
        else:
            started = start.name, start.inputs, start.code, start.now
            file.start_and_keep(
                StepState.COMPLETED, stored, *started, now=self.now, event=event, error=self.problem
            )


@dataclass(slots=True, eq=False)
class Expand(Keep):
    """Record a plan in place of a value, and delete an earlier turn."""

    replaces: str | None = None

    @property
    def point(self) -> str:  # type: ignore[override]
        """A turn that was deleted is a moment of its own."""
        return "turn-deleted" if self.replaces else "expanded-committed"

    def keep(self, file: RunFile, stored: Stored) -> None:
        """Delete first: the plan's own key may be below the earlier turn."""
        if self.replaces:
            file.delete_below(self.replaces)
        file.keep(StepState.EXPANDED, stored, now=self.now, event=(self.events.seq, self.events.token))


@dataclass(slots=True, eq=False)
class Unkept(Operation):
    """Forget the start of a step whose value is not kept."""

    key: str

    def apply(self, file: RunFile, codec: ResultCodec) -> None:
        """Delete the step."""
        file.drop_start(self.key)


@dataclass(slots=True, eq=False)
class Fail(Operation):
    """Record a final failure."""

    key: str
    problem: str
    now: float

    def apply(self, file: RunFile, codec: ResultCodec) -> None:
        """Update the step."""
        file.fail(self.key, self.problem, now=self.now)


@dataclass(slots=True, eq=False)
class Discard(Operation):
    """Delete steps."""

    keys: Sequence[str]

    def apply(self, file: RunFile, codec: ResultCodec) -> None:
        """Delete them with their results."""
        file.delete(self.keys)


@dataclass(slots=True, eq=False)
class End(Operation):
    """Record how the run ended."""

    point: ClassVar[str] = "end-committed"
    status: str
    problem: str
    now: float
    ended: float | None
    """When the run ended: before this attempt, if that only returned the recorded values."""

    def apply(self, file: RunFile, codec: ResultCodec) -> None:
        """Update run and attempt."""
        file.end(self.status, self.problem, now=self.now, ended=self.ended)


@dataclass(slots=True, eq=False)
class Interrupt(Operation):
    """Record that this attempt ends in an orderly way, and the run does not."""

    now: float
    before: Before | None = None
    """How the run stood before this attempt, which recorded nothing."""

    def apply(self, file: RunFile, codec: ResultCodec) -> None:
        """Update run and attempt; the run has no end, unless it had one before."""
        file.interrupt(now=self.now, before=self.before)


def joined(operations: Sequence[Operation]) -> list[Operation]:
    """Return the operations of one transaction, with each start in the value of its step, if that follows it.

    So one statement records both. Only other operations that concern neither may stand between them.
    """
    found: list[Operation] = []
    # key of a step that has started last -> where that stands
    starts: dict[str, int] = {}
    gone: set[int] = set()
    for operation in operations:
        kind = type(operation)
        if kind is Keep:
            assert isinstance(operation, Keep)
            place = starts.pop(operation.key, None)
            if place is not None:
                start = found[place]
                assert isinstance(start, Start)
                operation.start = start
                gone.add(place)
        elif kind is Start:
            assert isinstance(operation, Start)
            starts[operation.key] = len(found)
        else:
            starts.clear()
        found.append(operation)
    return [operation for place, operation in enumerate(found) if place not in gone] if gone else found


_log = get_logger("cascade.state")

SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two tries to commit while the file fails."""


class RunWriter:
    """Serves the operations of one journal.

    While the file fails, the batch is tried again for ``retry_for`` seconds; the thread serves
    nothing else meanwhile, and ``stalled`` is True. Then every operation fails, now and later.
    """

    def __init__(self, file: RunFile, codec: ResultCodec, *, retry_for: float, clock: Clock) -> None:
        self._file = file
        self._codec = codec
        self._retry_for = retry_for
        self._clock = clock
        self._state_log = StateLog(_log)
        self._closing = threading.Event()
        self.stalled = False
        self.settled = 0
        """Events whose numbers are below this are forgotten with the next commit; the journal sets it, on its loop."""
        self.failure: StateUnavailable | RunInUseError | None = None
        """Why writing has stopped."""

    def hurry(self) -> None:
        """Try no longer than once more: the journal is being closed. From any thread."""
        self._closing.set()

    def serve(self, batch: Sequence[Operation], /) -> None:
        """Encode, commit, and set results and errors."""
        for operation in batch:
            try:
                operation.encode(self._codec)
            except Exception as exc:
                operation.error = exc
        reach("encoded")
        ready = joined([operation for operation in batch if operation.error is None])
        if self.failure is None and ready:
            self._persist(ready)
        if self.failure is not None:
            for operation in ready:
                operation.error = self.failure
            return
        for point in {operation.point for operation in ready} - {""}:
            reach(point)
        reach("committed-unheard")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _persist(self, operations: Sequence[Operation]) -> None:
        """Commit operations; set ``failure`` if that cannot be done."""
        began, pause = self._clock.monotonic(), SHORTEST_PAUSE
        while True:
            try:
                self._commit(operations)
            except RunInUseError as exc:
                self.failure = exc
            except (sqlite3.Error, OSError) as exc:
                late = self._clock.monotonic() - began >= self._retry_for
                if not (is_damaged(exc) or late or self._closing.is_set()):
                    self._stall(exc)
                    self._closing.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
                self.failure = StateUnavailable(str(self._file.paths.database), self._cause(exc))
            else:
                self._state_log.works("write", "state %s can be written again", self._file.paths.database)
            self.stalled = False
            return

    def _commit(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            if isinstance(operation, Keep) and operation.stored is not None:
                operation.stored = with_own_file(operation.stored, self._file.paths)
        if any(operation.writes for operation in operations):
            self._file.transact(lambda: self._write(operations))
        else:
            self._apply(operations)

    def _apply(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            operation.apply(self._file, self._codec)

    def _write(self, operations: Sequence[Operation]) -> None:
        self._apply(operations)
        if self.settled:
            self._file.forget_events(self.settled)

    def _stall(self, error: Exception) -> None:
        self.stalled = True
        message = "state %s: %s; no further step starts, and the commit is tried again for %g s"
        place = self._file.paths.database
        self._state_log.failed("write", message, place, cause_of(error), self._retry_for)

    def _cause(self, error: Exception) -> str:
        if is_damaged(error):
            return rescue_of(self._file.paths.database, error)
        remedy = "; free some space" if is_full(error) else ""
        return f"{cause_of(error)}; tried again for {self._retry_for:g} s{remedy}"
