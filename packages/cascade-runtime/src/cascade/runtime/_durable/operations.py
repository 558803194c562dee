"""Operations that a journal asks of the thread that writes its run's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cascade.interfaces import StepEvents, StepState, UnreadableResultError, UnstorableValueError
from cascade.runtime._durable.results import ResultCodec, Stored
from cascade.runtime._durable.run_file import Before, RunFile
from cascade.runtime._storage.group_commit import Request


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
            file.keep(StepState.COMPLETED, stored, now=self.now, event=event)
        else:
            started = start.name, start.inputs, start.code, start.now
            file.start_and_keep(StepState.COMPLETED, stored, *started, now=self.now, event=event)


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

    def apply(self, file: RunFile, codec: ResultCodec) -> None:
        """Update run and attempt."""
        file.end(self.status, self.problem, now=self.now)


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
    starts: dict[str, int] = {}  # key of a step that has started last -> where that stands
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
