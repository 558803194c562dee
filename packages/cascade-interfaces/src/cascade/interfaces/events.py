"""Events and the bus that delivers them: one immutable class for each kind of message on the wire.

An event keeps this form from the run that makes it to the encoder that sends it. The classes are named tuples because
a task makes several events while the event loop waits, and a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeVar


class TaskState(StrEnum):
    """The states of a task that observers see."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    BLOCKED = "BLOCKED"
    RETRYING = "RETRYING"
    CANCELLED = "CANCELLED"


ENDED_STATES = (TaskState.COMPLETED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED)
"""States in which a task stays."""


class Lifecycle(StrEnum):
    """The first and the last event of every run."""

    ENGINE_STARTED = "ENGINE_STARTED"
    ENGINE_STOPPED = "ENGINE_STOPPED"


class RunStatus(StrEnum):
    """How a run ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


Tag = str | float | bool
"""Value of a tag of a run."""
MAX_LINE = 1_000
"""Characters of the message of a :class:`LogEvent`."""
_NO_TAGS: Mapping[str, Tag] = {}


class RunLease(NamedTuple):
    """The lease with which the clock has started a run."""

    name: str
    term: int
    """Grows with each holder, so that a system can refuse what an earlier holder still sends."""


class TaskStateEvent(NamedTuple):
    """A task changed its state."""

    run_id: str
    task_id: str
    """Unique within the run."""
    task_name: str
    state: TaskState
    timestamp: float
    """Seconds since the epoch."""
    duration_ms: float = 0.0
    """Milliseconds since the task's first attempt began; 0 before it began."""
    error: str = ""
    """``"TypeName: message"`` of the error that ended or interrupted the task, else empty."""
    reason: str = ""
    """Why the task was skipped, blocked or is tried again, else empty."""
    attempt: int = 1
    """Attempt of the task, counted from 1."""
    parent: str = ""
    """Key of the map, route or task from which the call was expanded, else empty."""
    item: int | None = None
    """Index in its map, from 0; None outside a map."""
    node: str = ""
    """Key without items and continuations, where several calls of the declaration share the name, else empty."""
    token: str = ""
    """Token of the run's attempt: see :class:`LifecycleEvent`."""
    run_attempt: int = 1
    """Attempt of the run, counted from 1."""


class LifecycleEvent(NamedTuple):
    """A run began or ended."""

    run_id: str
    event: Lifecycle
    timestamp: float
    """Seconds since the epoch."""
    status: RunStatus | None = None
    """How the run ended; None for its start."""
    error: str = ""
    name: str = ""
    """Name that the user gave the run, else empty; only for its start."""
    tags: Mapping[str, Tag] = _NO_TAGS
    """Tags that the user gave the run; only for its start."""
    token: str = ""
    """8 hex digits, random for each attempt of a run and the same in all its events.

    The run that makes the events makes the token, because a ``run_id`` may be used again.
    """
    run_attempt: int = 1
    """Attempt of the run, counted from 1."""
    kept: int = 0
    """Steps that earlier attempts of the run have recorded; only for its start."""
    by: str = ""
    """Author of the cancel that ended the run, as its message claims; only for its end."""
    lease: RunLease | None = None
    """If the clock has started the run with one; only for its start."""
    target: str = ""
    """Names of the targets; only for its start."""
    traceparent: str = ""
    """Of the request or the program that started the run (W3C Trace Context), else empty; only for its start."""


class ProgressEvent(NamedTuple):
    """A running task reports its progress."""

    run_id: str
    task_id: str
    task_name: str
    timestamp: float
    """Seconds since the epoch."""
    done: float
    total: float | None = None
    token: str = ""
    """Token of the run's attempt: see :class:`LifecycleEvent`."""
    run_attempt: int = 1
    """Attempt of the run, counted from 1."""
    message: str = ""
    """What the task says of its progress, else empty."""
    unit: str = ""
    """What ``done`` and ``total`` count, else empty."""


class LogEvent(NamedTuple):
    """Code of the run has logged a line."""

    run_id: str
    task_id: str
    """Empty for a line that no task wrote, as is ``task_name``."""
    task_name: str
    timestamp: float
    """Seconds since the epoch."""
    level: str
    """``INFO``, ``WARNING`` ..."""
    logger: str
    message: str
    skipped: int = 0
    """Lines before this one that were left out because there were too many."""
    token: str = ""
    """Token of the run's attempt: see :class:`LifecycleEvent`."""
    run_attempt: int = 1
    """Attempt of the run, counted from 1."""


class DataEvent(NamedTuple):
    """A task publishes a value of its own."""

    run_id: str
    task_id: str
    task_name: str
    timestamp: float
    """Seconds since the epoch."""
    name: str
    data: Any
    """A JSON value that nothing else refers to."""
    token: str = ""
    """Token of the run's attempt: see :class:`LifecycleEvent`."""
    run_attempt: int = 1
    """Attempt of the run, counted from 1."""


Event = TaskStateEvent | LifecycleEvent | ProgressEvent | LogEvent | DataEvent
"""What a run publishes on the event bus."""


_EventT = TypeVar("_EventT")


class EventBus(Protocol):
    """Delivers the events of runs to observers. No observer can affect a run."""

    def subscribe(
        self, event_type: type[_EventT], handler: Callable[[_EventT], object]
    ) -> Callable[[], None]:
        """Call ``handler`` for each event that is an instance of ``event_type``; return how to stop.

        Handlers are plain functions, called on the event loop, in the order of the events;
        an error that one raises is logged and does not affect the others.
        """
        ...

    def wants(self, event_type: type) -> bool:
        """Return whether a handler is subscribed to events of this type; if not, none need be made."""
        ...

    def handlers(self) -> list[Callable[[Any], object]]:
        """Return every handler that is subscribed."""
        ...

    def bind(self, loop: AbstractEventLoop) -> None:
        """Name the loop on which handlers are called from now on."""
        ...

    def publish(self, event: object) -> None:
        """Deliver an event. From another thread it goes to the loop first; each thread's events stay in order."""
        ...
