"""The errors of Cascade: what the caller did wrong, and what the outside world did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade.interfaces._travel import reduced


class CascadeError(Exception):
    """Root of every error that Cascade raises of its own accord.

    Its message may show values, to whoever runs the program; observers are told :attr:`public`.
    """

    _public: str | None = None

    def __init__(self, *args: object, public: str | None = None) -> None:
        super().__init__(*args)
        self._public = public

    @property
    def public(self) -> str:
        """The message without values of arguments, results and inputs: this may leave the process."""
        return str(self) if self._public is None else self._public

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to pickle and copy it: as it is, whatever a derived class makes it of."""
        return reduced(self)


class UsageError(CascadeError):
    """The caller did something that cannot work; the message says what to do instead."""


class ExternalError(CascadeError):
    """The outside world (a broker, a network, a cluster) failed the caller."""


class InvalidTopicError(UsageError, ValueError):
    """A topic or topic filter that MQTT does not allow (MQTT 5.0, section 4.7)."""

    def __init__(self, topic: object, problem: str) -> None:
        self.topic = topic
        self.problem = problem
        super().__init__(f"topic {_clipped(topic)} {problem}")


class InvalidPayloadError(UsageError, TypeError):
    """A payload that is neither a mapping nor None."""

    def __init__(self, topic: str, payload: object) -> None:
        self.topic = topic
        super().__init__(
            f"the payload for {topic!r} is a {type(payload).__name__}; "
            "pass a dict, or None to clear a retained message"
        )


_NONE: object = object()


class ConfigurationError(UsageError, ValueError):
    """A setting that cannot work: ``setting`` names it, ``problem`` says why and what to do.

    ``value`` is what was found instead, where a task may have given it.
    """

    def __init__(self, setting: str, problem: str, *, value: object = _NONE) -> None:
        self.setting = setting
        self.problem = problem
        self.value = None if value is _NONE else value
        found = "" if value is _NONE else f", not {_clipped(value)}"
        super().__init__(f"{setting}: {problem}{found}", public=f"{setting}: {problem}")


class WrongThreadError(UsageError, RuntimeError):
    """Something that belongs to an event loop was called from another thread."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        super().__init__(
            f"{operation} was called from another thread than its event loop's; "
            "use loop.call_soon_threadsafe or asyncio.run_coroutine_threadsafe"
        )


class TaskDefinitionError(UsageError, TypeError):
    """Something that cannot be a task was declared as one."""


class TaskCallError(UsageError, TypeError):
    """A task was called with arguments that its function does not take."""

    def __init__(self, task_name: str, signature: str, problem: str) -> None:
        self.task_name = task_name
        self.signature = signature
        self.problem = problem
        told = f"task {task_name!r}: {problem}"
        super().__init__(f"{told}; its signature is {task_name}{signature}", public=told)  # it shows defaults


class MapLengthError(UsageError, ValueError):
    """The iterables of one ``task.map(...)`` have different lengths."""

    def __init__(self, task_name: str, lengths: dict[str, int]) -> None:
        self.task_name = task_name
        self.lengths = lengths
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        super().__init__(f"task {task_name!r}: map needs iterables of one length, but {found}")


class InvalidTargetError(UsageError, TypeError):
    """A lazy result is needed, and something else was given."""

    def __init__(self, target: object, *, advice: str = "") -> None:
        self.target = target
        hint = advice or "call a function decorated with @cs.task and run what it returns"
        kind, problem = type(target).__name__, f"is no lazy result; {hint}"
        super().__init__(f"{_clipped(target)} of type {kind} {problem}", public=f"a {kind} {problem}")


class InputsError(UsageError, ValueError):
    """Inputs of a run are missing, unknown or cannot be converted; all of them at once.

    ``problems`` says what is wrong with each, and in what words its own conversion refused it, if it did.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        told = [f"{what}: {said}" if said else what for what, said in problems.items()]
        super().__init__("; ".join(told), public="; ".join(problems))


class RouteError(UsageError, LookupError):
    """What chooses a route gave a value for which there is none."""

    def __init__(self, value: object, routes: tuple[object, ...]) -> None:
        self.value = value
        self.routes = routes
        known = ", ".join(_clipped(route) for route in routes)
        super().__init__(
            f"no route for {_clipped(value)}; the routes are {known}",
            public=f"the value that chooses is none of the {len(routes)} routes",
        )


class ResourceNotFoundError(UsageError, LookupError):
    """A task, or a resource that it uses, asks for a resource that the run does not have."""

    def __init__(self, name: str, known: tuple[str, ...], *, task_name: str = "") -> None:
        self.name = name
        self.known = known
        self.task_name = task_name
        have = f"it has {', '.join(known)}" if known else "it has none"
        asks = f"task {task_name!r}: " if task_name else ""
        super().__init__(
            f"{asks}the run has no resource named {name!r} ({have}); pass resources=[...] to the engine or to cs.run"
        )


class ResourceFailedError(ExternalError):
    """A resource was cancelled while it was opened or closed, or did not close in time."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(f"resource {name!r} {problem}")


class PluginNotFoundError(UsageError, LookupError):
    """No installed package offers a ``kind`` of this name."""

    kind = "plugin"

    def __init__(self, name: str, *, installed: tuple[str, ...], remedy: str) -> None:
        self.name = name
        self.installed = installed
        have = f"installed: {', '.join(installed)}" if installed else "none is installed"
        super().__init__(f"no {self.kind} named {name!r} ({have}); {remedy}")


class ConnectorNotFoundError(PluginNotFoundError):
    """No installed package offers a connector of this name."""

    kind = "connector"


class ExecutorNotFoundError(PluginNotFoundError):
    """No installed package offers an executor of this name."""

    kind = "executor"


class ConnectorUnavailable(ExternalError, ConnectionError):
    """A connector that the caller requires could not be connected."""

    def __init__(self, host: str, port: int, cause: str) -> None:
        self.host = host
        self.port = port
        self.cause = cause
        super().__init__(f"no connection to {host}:{port}: {cause}")


class TaskNotPicklableError(UsageError, TypeError):
    """Something of a call cannot travel to another process: ``part`` says what, ``problem`` why."""

    def __init__(self, task_name: str, part: str, problem: str) -> None:
        self.task_name = task_name
        self.part = part
        self.problem = problem
        super().__init__(f"task {task_name!r} cannot run in another process: {part} {problem}")


class WorkerLostError(ExternalError):
    """The worker that ran a task died, each time that the task was tried."""

    def __init__(self, task_name: str, attempts: int, cause: str) -> None:
        self.task_name = task_name
        self.attempts = attempts
        self.cause = cause
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(
            f"task {task_name!r} was begun {times}, and each time its worker was lost ({cause}); "
            "look for a crash in native code, or for the system ending it for want of memory"
        )


class ExecutorUnavailable(ExternalError, ConnectionError):
    """What an executor runs its calls on is not there: ``remedy`` says what to do."""

    def __init__(self, address: str, cause: str, remedy: str) -> None:
        self.address = address
        self.cause = cause
        self.remedy = remedy
        super().__init__(f"{address} cannot run tasks: {cause}; {remedy}")


class TaskTimeoutError(ExternalError, TimeoutError):
    """An attempt of a task took longer than its ``with_timeout`` allows."""

    def __init__(self, task_name: str, seconds: float) -> None:
        self.task_name = task_name
        self.seconds = seconds
        super().__init__(f"task {task_name!r} took longer than its time limit of {seconds:g} s")


class TaskCancelledError(ExternalError):
    """A task was cancelled: from outside, by a constraint on the run ``run_id``, or from within, when that is ""."""

    def __init__(self, task_name: str, reason: str, *, run_id: str = "") -> None:
        self.task_name = task_name
        self.reason = reason
        self.run_id = run_id
        super().__init__(f"task {task_name!r} was cancelled: {reason}")


class RunCancelledError(ExternalError):
    """A run was cancelled from outside, by a constraint."""

    def __init__(self, run_id: str, reason: str) -> None:
        self.run_id = run_id
        self.reason = reason
        super().__init__(f"run {run_id} was cancelled: {reason}")


def _clipped(value: object, limit: int = 80) -> str:
    try:
        text = repr(value)
    except Exception:  # a foreign __repr__ must not hide the error that is being told
        text = object.__repr__(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
