"""What the event bus carries: one small family, one to one with the wire."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TaskState(StrEnum):
    """The states of a task that observers see."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    BLOCKED = "BLOCKED"
    RETRYING = "RETRYING"
    CANCELLED = "CANCELLED"


class Lifecycle(StrEnum):
    """The first and the last event of every run."""

    ENGINE_STARTED = "ENGINE_STARTED"
    ENGINE_STOPPED = "ENGINE_STOPPED"


class RunStatus(StrEnum):
    """How a run ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


@dataclass(frozen=True, slots=True)
class TaskStateEvent:
    """A task changed its state."""

    run_id: str
    task_id: str
    """Unique within the run."""
    task_name: str
    state: TaskState
    timestamp: float
    """Seconds since the epoch."""
    duration_ms: float = 0.0
    """Time since the task's first attempt began, in milliseconds; 0 before it began."""
    error: str = ""
    """``"TypeName: message"`` of what ended or interrupted it, else empty."""
    reason: str = ""
    """Why it was skipped, blocked or is tried again, else empty."""


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """A run began or ended."""

    run_id: str
    event: Lifecycle
    timestamp: float
    """Seconds since the epoch."""
    status: RunStatus | None = None
    """How the run ended; None for its start."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """A task that runs tells how far it is."""

    run_id: str
    task_id: str
    task_name: str
    timestamp: float
    """Seconds since the epoch."""
    done: float
    total: float | None = None


Event = TaskStateEvent | LifecycleEvent | ProgressEvent
