"""Runs that survive: the store of recorded runs. A docstring here is the contract of its method.

Times are wall-clock seconds since the epoch. A key is a step key, such as ``resize:0[17]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from cascade.interfaces.events import RunStatus


class Resume(StrEnum):
    """Which recorded runs an engine may continue; it always may those that failed or were interrupted."""

    AUTO = "auto"
    CANCELLED = "cancelled"
    """Those that were cancelled, too."""


class RecordedStatus(StrEnum):
    """What a store knows of a run."""

    RUNNING = "Running"
    INTERRUPTED = "Interrupted"
    """Its process ended without recording how the run ended."""
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class StepState(IntEnum):
    """What is recorded of a step; the numbers are those of the file format."""

    STARTED = 1
    RETRYING = 2
    """An attempt of the step failed, and another one comes at ``not_before``."""
    COMPLETED = 3
    EXPANDED = 4
    """It returned calls: their plan is recorded in place of a value."""
    FAILED = 5
    IN_DOUBT = 6
    """It was started with ``started_for_certain``, and no outcome is recorded."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as it is started or continued."""

    run_id: str
    target: str
    """Name of the target; targets themselves are not stored."""
    params: Mapping[str, Any] | None = None
    """Values of the inputs that are not secret; None: those of the first attempt, if there was one."""
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Values of secret inputs and of environment variables; only a keyed digest of each is stored."""
    shape: bytes = b""
    """Digest of the declared graph, for the engine's own comparison."""
    source: str = ""
    by: str = ""


class PendingEvent(NamedTuple):
    """A message about a run that may be lost with the process: no outbox has it on disk, and no broker has taken it."""

    number: int
    """Counted by the run, over all its attempts."""
    topic: str
    payload: str
    """JSON."""
    qos: int


@dataclass(frozen=True, slots=True)
class StepEvents:
    """What is recorded with an outcome, so that no outcome is recorded without its event."""

    seq: int | None = None
    """Number of the event that reports the outcome; None: nothing reports it."""
    token: str = ""
    """Of that event; 8 hex digits for each attempt of the run."""
    pending: Sequence[PendingEvent] = ()
    """Those before it that were not recorded yet and may still be lost, and that event. A number that was recorded
    before replaces what it had."""


NO_EVENTS = StepEvents()
"""Nothing reports the outcome, or nothing keeps its event."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier attempts recorded of the run that a journal continues."""

    status: RecordedStatus
    params: Mapping[str, Any]
    shape: bytes
    kept: int
    """Steps with a recorded value or plan."""
    error: str = ""
    """Why the last attempt failed, else empty."""
    pending: Sequence[PendingEvent] = ()
    """Events of all attempts that were recorded and are not settled, in the order of their numbers."""


class StepRecord(NamedTuple):
    """What is recorded of a step, without its value; a tuple, because a resume makes one for each of many steps."""

    key: str
    state: StepState
    name: str = ""
    """The task's name."""
    inputs: bytes = b""
    """Digest of the arguments, as ``started`` gave it."""
    code: bytes = b""
    """Digest of the function, as ``started`` gave it."""
    attempt: int = 1
    """Attempt of the run that recorded this last."""
    starts: int = 0
    tries: int = 0
    """Attempts of the step that failed in that attempt of the run."""
    began: float = 0.0
    """Times are seconds since the epoch. A journal may leave out those of a step that has a value or a plan."""
    ended: float = 0.0
    not_before: float = 0.0
    error: str = ""
    deaths: int = 0
    """How often in a row the run's process ended while the step ran, with no step recorded in between."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a step returned in place of a value: further calls."""

    content: Any
    """Lists, dicts, texts, and the values of arguments; encoded as results are.

    Of a decider: a digest. Its calls cannot be encoded, so on resume the step is called again,
    and what it then returns must have this digest.
    """
    decider: bool = False


@dataclass(frozen=True, slots=True)
class StepSummary:
    """One step, for a list that people read."""

    key: str
    name: str
    state: StepState
    starts: int
    tries: int
    began: float
    ended: float | None
    error: str
    size: int
    """Bytes of the recorded value; 0 if there is none."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run, for a list that people read."""

    run_id: str
    target: str
    status: RecordedStatus
    attempts: int
    created: float
    ended: float | None
    error: str = ""
    by: str = ""
    counts: Mapping[StepState, int] = field(default_factory=dict)


class ChangeKind(Enum):
    """In what way a completed step differs from the call that the engine finds now."""

    CODE = "code"
    ARGUMENTS = "arguments"
    GONE = "gone"
    """Recorded, and no longer declared."""
    UNREADABLE = "unreadable result"
    PLAN = "other plan"


@dataclass(frozen=True, slots=True)
class StepChange:
    """One completed step that changed."""

    key: str
    kind: ChangeKind


class StateBackend(Protocol):
    """Keeps runs, each with its steps, after the process has ended.

    Faults of the outside world (no space, no file, no permission) raise ``StateUnavailable``. A
    backend may be told not to require its store: then it logs one warning, and the run continues
    unrecorded.
    """

    async def open(self, run: RunInfo, *, resume: Resume = Resume.AUTO) -> Journal:
        """Begin a run, or the next attempt of a recorded one; when this returns, that is committed.

        At most one journal of a run is open, on whatever machine the store can be reached from.
        It is free again as soon as its process has ended.

        :raises RunInUseError: if a live process has a journal of this run.
        :raises RunEndedError: if the run was cancelled and ``resume`` does not allow to continue it.
        :raises RunInputsError: if ``params`` or ``secrets`` differ from those of the first attempt.
        :raises UnstorableValueError: if a parameter cannot be stored.
        :raises StateUnavailable: if the store cannot be used.
        """
        ...

    def runs(
        self,
        *,
        status: RecordedStatus | None = None,
        target: str | None = None,
        since: float | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[RunSummary]:
        """Return the newest runs first; ``since`` compares with ``created``. Blocks; changes nothing.

        Of a given ``run_id`` there is at most one, and it costs no more however many runs are recorded.

        :raises StateUnavailable: if the store cannot be read.
        """
        ...

    def steps(self, run_id: str, *, state: StepState | None = None) -> Iterator[StepSummary]:
        """Yield the steps of a run in the order of their keys; nothing if it is unknown. Blocks.

        :raises StateUnavailable: if the store cannot be read.
        """
        ...

    async def forget(self, run_id: str) -> None:
        """Delete a run with all that belongs to it; do nothing if it is unknown.

        :raises RunInUseError: if a live process has a journal of this run.
        :raises StateUnavailable: if the store cannot be changed.
        """
        ...

    async def close(self) -> None:
        """Close every journal, as its ``close`` does; idempotent. The next ``open`` works again."""
        ...


@runtime_checkable
class SupportsControlMemory(Protocol):
    """Ability of a state backend: keep the constraints that a named engine obeys, for its next process.

    Faults raise ``OSError``; an engine logs them once and continues.
    """

    async def load_control(self, source: str) -> Mapping[str, Any] | None:
        """Return what was saved last for a source; None if nothing was, or it cannot be read as JSON."""
        ...

    async def save_control(self, source: str, content: Mapping[str, Any]) -> None:
        """Replace what is saved for a source, whole or not at all; ``content`` is JSON."""
        ...

    async def forget_control(self, source: str) -> None:
        """Delete what is saved for a source; do nothing if nothing is."""
        ...


class Journal(Protocol):
    """One attempt of one run, in one process and on one event loop.

    Rows are committed in the order of the calls. A method with ``await`` returns when its row is
    committed. What the others record is committed with the next row that is awaited, or within a
    second. A cancelled caller withdraws nothing. An awaited method raises ``StateUnavailable``
    once the store has failed for longer than the backend's limit, and ``RunInUseError`` if
    another process has taken the run over; nothing is written from then on.
    """

    @property
    def attempt(self) -> int:
        """Which attempt of the run this is, from 1."""
        ...

    @property
    def earlier(self) -> Earlier | None:
        """What was recorded before this attempt; None for a new run."""
        ...

    @property
    def stalled(self) -> bool:
        """Whether rows cannot be written at this moment: start no step before ``writable`` returns. Cheap."""
        ...

    async def writable(self) -> None:
        """Wait until rows can be written; return at once if they can.

        :raises StateUnavailable: once the store has failed for longer than the backend's limit.
        """
        ...

    def known(self, key: str) -> StepRecord | None:
        """Return what was recorded of a step before this attempt, without its value; None if nothing. Cheap."""
        ...

    def known_keys(self, *states: StepState) -> Iterable[str]:
        """Return the keys of all steps that ``known`` knows; with ``states``, of those in one of them."""
        ...

    async def load(self, key: str) -> Any:
        """Return the value of a completed step, or the :class:`Plan` of an expanded one.

        :raises UnreadableResultError: if there is none, it is damaged, or its class has changed or gone.
        """
        ...

    async def load_all(self, keys: Sequence[str]) -> list[Any]:
        """Return what ``load`` returns for each key, and its error in the place of a value that cannot be read.

        If the store cannot be read and is not required, that error is in all places: the steps run again.

        :raises StateUnavailable: if a store that is required cannot be read.
        """
        ...

    async def discard(self, keys: Iterable[str]) -> None:
        """Delete what is recorded of these steps, all or none: they are to run again. ``known`` forgets them."""
        ...

    def started(self, key: str, *, name: str, inputs: bytes, code: bytes) -> None:
        """Record that an attempt of a step starts: ``starts`` rises by one."""
        ...

    async def started_for_certain(self, key: str, *, name: str, inputs: bytes, code: bytes) -> None:
        """Record it before the call: until an outcome is recorded, the step is ``IN_DOUBT``."""
        ...

    def retrying(self, key: str, *, tries: int, not_before: float, error: str) -> None:
        """Record that an attempt of the step failed (``tries`` so far in this attempt), and when the next one may start."""
        ...

    async def completed(
        self, key: str, value: Any, *, events: Callable[[], StepEvents] = StepEvents, error: str = ""
    ) -> bool:
        """Record the value as it is now. Await this before anything sees the value.

        Do not change the value until this returns: it is encoded in another thread.

        :param events: called at most once, on the event loop; what it returns is recorded in the same commit,
            whether the value is kept or not. Not called if ``UnstorableValueError`` is raised: then the step fails.
        :param error: why the step failed, if the value stands for a failure that a call keeps: lists for people
            count such a step as failed.
        :return: False if the value is not kept, because it cannot be encoded or is too large: one
            warning for each task was logged, and the step runs again on resume.
        :raises UnstorableValueError: in place of that, from a backend that requires all results; nothing is recorded.
        """
        ...

    async def expanded(
        self, key: str, plan: Plan, *, replaces: str | None = None, events: StepEvents = NO_EVENTS
    ) -> None:
        """Record what a step returned in place of a value, before its calls are built.

        :param events: recorded in the same commit, also if the plan is refused.
        :param replaces: beginning of the keys of an earlier turn of the same loop, such as
            ``loop:0~17/``: every step below it is deleted in the same commit.
        :raises UnstorableValueError: if a part of the plan cannot be encoded; record a decider then.
        """
        ...

    def settled(self, before: int) -> None:
        """Forget, with a later commit, the events whose numbers are below this: they can no longer be lost."""
        ...

    async def failed(self, key: str, error: str) -> None:
        """Record that a step has failed for good. Never record a cancellation."""
        ...

    async def end(self, status: RunStatus, error: str = "") -> None:
        """Record how the run ended, close the file and release the run. Nothing may follow but ``close``.

        If the run had succeeded before, and succeeds again in an attempt that recorded nothing, the time of its end stands.
        """
        ...

    async def close(self) -> None:
        """Commit what is queued, within a limit, and release the run; idempotent.

        Without an ``end`` before, the run is recorded as interrupted; if this attempt recorded nothing, a run
        that was there before stands as it did.
        """
        ...
