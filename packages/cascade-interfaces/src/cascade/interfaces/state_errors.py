"""The errors of recorded runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from cascade.interfaces.errors import ExternalError, UsageError
from cascade.interfaces.state import RecordedStatus, StepChange

_LISTED = 5  # changes that a message names, at most


class StateUnavailable(ExternalError, OSError):
    """A store of recorded runs cannot be used: ``where`` names the folder or file, ``cause`` states why."""

    def __init__(self, where: str, cause: str) -> None:
        self.where = where
        self.cause = cause
        super().__init__(f"state {where}: {cause}")


class RunInUseError(UsageError, RuntimeError):
    """A live process has the run; ``since`` is when its attempt began, in seconds since the epoch."""

    def __init__(self, run_id: str, *, pid: int, host: str, since: float) -> None:
        self.run_id = run_id
        self.pid = pid
        self.host = host
        self.since = since
        super().__init__(
            f"run {run_id!r} is held by process {pid} on {host} since {_time(since)}; "
            "end it, or give another run_id"
        )


class RunEndedError(UsageError, RuntimeError):
    """A recorded run has ended in a way after which it is continued only on request."""

    def __init__(self, run_id: str, status: RecordedStatus) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(
            f"run {run_id!r} has ended as {status.value}; give resume={status.value.lower()!r} to continue it, "
            "or another run_id"
        )


class RunInputsError(UsageError, ValueError):
    """A recorded run is continued with other inputs; ``names`` lists them."""

    def __init__(self, run_id: str, names: tuple[str, ...], problem: str) -> None:
        self.run_id = run_id
        self.names = names
        self.problem = problem
        remedy = "leave params out to resume, or give another run_id"
        super().__init__(
            f"run {run_id!r} was started with {problem}; {remedy}",
            public=f"run {run_id!r} was started with other values of {', '.join(names)}; {remedy}",
        )


class RunChangedError(UsageError, RuntimeError):
    """Completed steps of a recorded run have changed: ``changes`` lists them."""

    def __init__(self, run_id: str, changes: Sequence[StepChange]) -> None:
        self.run_id = run_id
        self.changes = tuple(changes)
        named = ", ".join(f"{change.key} ({change.kind.value})" for change in self.changes[:_LISTED])
        rest = len(self.changes) - _LISTED
        steps = "step" if len(self.changes) == 1 else "steps"
        super().__init__(
            f"run {run_id!r} cannot go on as it was: {len(self.changes)} completed {steps} changed: {named}"
            f"{f' and {rest} more' if rest > 0 else ''}; fix: on_change='rerun' runs them again with all that "
            "take their values, on_change='keep' takes the recorded results"
        )


class UnreadableResultError(ExternalError, ValueError):
    """The recorded result of a step cannot be read: ``problem`` states why."""

    def __init__(self, key: str, problem: str) -> None:
        self.key = key
        self.problem = problem
        super().__init__(
            f"the recorded result of step {key!r} cannot be read: {problem}; bring back what it needs, "
            "or give on_change='rerun' to run the step again"
        )


class StepInDoubtError(UsageError, RuntimeError):
    """A step that runs at most once was started, and its process ended before an outcome was recorded."""

    def __init__(self, run_id: str, key: str, *, began: float, state: str) -> None:
        self.run_id = run_id
        self.key = key
        self.began = began
        self.state = state
        super().__init__(
            f"step {key!r} was started at {_time(began)}, and its process ended before it recorded an outcome; "
            f"find out whether it was done, then: cascade resolve {run_id} {key} --state {state} "
            "--value JSON/--again/--fail"
        )


class StepKeepsDyingError(UsageError, RuntimeError):
    """A step was running each time that the run's process died, and no step was recorded in between."""

    def __init__(self, key: str, deaths: int) -> None:
        self.key = key
        self.deaths = deaths
        super().__init__(
            f"step {key!r} was running each of the last {deaths} times that the run's process died, and no step "
            "was recorded in between; look for memory that runs out or a crash in native code, then give "
            "max_starts=None to try again"
        )


def _time(moment: float) -> str:
    """Return a moment as people write it, in local time; with the date unless it is today."""
    local = dt.datetime.fromtimestamp(moment).astimezone()
    today = local.date() == dt.datetime.now(local.tzinfo).date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")
