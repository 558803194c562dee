"""The errors of Cascade: mistakes of the caller, and faults of the outside world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class CascadeError(Exception):
    """Root of every error that Cascade raises of its own accord.

    The message may show values to the person who runs the program; observers get :attr:`public`.
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
        """Pickle and copy the error as it is, whatever arguments a derived class takes."""
        # Few errors leave their process.
        from cascade.interfaces._pickled_errors import reduced

        return reduced(self)


class UsageError(CascadeError):
    """The caller did something that cannot work; the message states what to do instead."""


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
    """A setting that cannot work: ``setting`` names it, ``problem`` states why and what to do.

    ``value`` is the value that was found, where a task may have computed it.
    """

    def __init__(self, setting: str, problem: str, *, value: object = _NONE) -> None:
        self.setting = setting
        self.problem = problem
        self.value = None if value is _NONE else value
        found = "" if value is _NONE else f", not {_clipped(value)}"
        super().__init__(f"{setting}: {problem}{found}", public=f"{setting}: {problem}")


class WrongThreadError(UsageError, RuntimeError):
    """Something that belongs to an event loop was called from another thread, or on another loop.

    :param loops: the loop of the caller and the loop that it belongs to, in words; None if the caller has none.
    """

    def __init__(self, operation: str, *, loops: tuple[str, str] | None = None) -> None:
        self.operation = operation
        if loops is None:
            problem = (
                "was called from a thread other than its event loop's; "
                "use loop.call_soon_threadsafe or asyncio.run_coroutine_threadsafe"
            )
        else:
            problem = (
                f"was called on the event loop {loops[0]}, but the connector was connected on {loops[1]}; "
                "disconnect it there first, or use one connector for each event loop"
            )
        super().__init__(f"{operation} {problem}")


class TaskDefinitionError(UsageError, TypeError):
    """Something that cannot be a task was declared as one."""


class TaskCallError(UsageError, TypeError):
    """A task was called with arguments that its function does not take."""

    def __init__(self, task_name: str, signature: str, problem: str) -> None:
        self.task_name = task_name
        self.signature = signature
        self.problem = problem
        # a signature may show values: the defaults
        public = f"task {task_name!r}: {problem}"
        super().__init__(f"{public}; its signature is {task_name}{signature}", public=public)


class MapLengthError(UsageError, ValueError):
    """The iterables of one ``task.map(...)`` have different lengths."""

    def __init__(self, task_name: str, lengths: dict[str, int]) -> None:
        self.task_name = task_name
        self.lengths = lengths
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        super().__init__(f"task {task_name!r}: map needs iterables of the same length, but {found}")


class InvalidTargetError(UsageError, TypeError):
    """A lazy result is needed, and something else was given."""

    def __init__(self, target: object, *, advice: str = "") -> None:
        self.target = target
        hint = advice or "call a function decorated with @cs.task and run what it returns"
        kind, problem = type(target).__name__, f"is not a lazy result; {hint}"
        super().__init__(f"{_clipped(target)} of type {kind} {problem}", public=f"a {kind} {problem}")


class InputsError(UsageError, ValueError):
    """Inputs of a run are missing, unknown or cannot be converted; all of them at once.

    ``problems`` maps what is wrong with each input to what to do, to the error of its conversion, or to "".
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        texts = [f"{problem}: {detail}" if detail else problem for problem, detail in problems.items()]
        super().__init__("; ".join(texts), public="; ".join(problems))


class RouteError(UsageError, LookupError):
    """The selector of a router gave a value without a route."""

    def __init__(self, value: object, routes: tuple[object, ...]) -> None:
        self.value = value
        self.routes = routes
        known = ", ".join(_clipped(route) for route in routes)
        super().__init__(
            f"no route for {_clipped(value)}; the routes are {known}",
            public=f"the selector's value is not one of the {len(routes)} routes",
        )


class MissingItemError(UsageError, LookupError):
    """The value behind ``lazy[key]`` or ``lazy.attribute`` has no such item or attribute."""

    def __init__(self, problem: str, of: str, has: str) -> None:
        self.problem = problem
        self.of = of
        self.has = has
        found = f"; it has {has}" if has else ""
        super().__init__(
            f"{problem}: not in the value of {of}{found}",
            public=f"{problem.partition(':')[0]}: the item or attribute is not in the value of {of}",
        )


class ResourceNotFoundError(UsageError, LookupError):
    """A task, or a resource that it uses, needs a resource that the run does not have."""

    def __init__(self, name: str, known: tuple[str, ...], *, task_name: str = "") -> None:
        self.name = name
        self.known = known
        self.task_name = task_name
        have = f"it has {', '.join(known)}" if known else "it has none"
        task = f"task {task_name!r}: " if task_name else ""
        super().__init__(
            f"{task}the run has no resource named {name!r} ({have}); pass resources=[...] to the engine or to cs.run"
        )


class UnknownResourceError(UsageError, LookupError):
    """A task demands a resource that is not among the engine's ``system_resources``."""

    def __init__(self, task_name: str, resource: str, known: tuple[str, ...]) -> None:
        self.task_name = task_name
        self.resource = resource
        self.known = known
        have = f"it has {', '.join(self.known)}" if self.known else "it has none"
        super().__init__(
            f"task {task_name!r} needs {resource!r}, which this engine does not have ({have}); "
            f"name it in system_resources={{{resource!r}: ...}}"
        )


class ResourceCapacityError(UsageError, ValueError):
    """A task demands more of a resource than the engine has in total."""

    def __init__(self, task_name: str, resource: str, amount: float, capacity: float) -> None:
        self.task_name = task_name
        self.resource = resource
        self.amount = amount
        self.capacity = capacity
        super().__init__(
            f"task {task_name!r} needs {resource}={amount:g}, but this engine has {resource}={capacity:g} "
            f"in total; lower the demand or raise system_resources[{resource!r}]"
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


class ObserverNotFoundError(PluginNotFoundError):
    """No installed package offers an observer of this name."""

    kind = "observer"


class ConnectorUnavailable(ExternalError, ConnectionError):
    """A connector that the caller requires could not be connected.

    ``kind`` is ``unreachable``, ``credentials``, ``certificate``, ``silent``, ``taken over``, ``settings`` or
    ``closed``; empty if the connector does not know.
    """

    def __init__(self, host: str, port: int, cause: str, *, kind: str = "") -> None:
        self.host = host
        self.port = port
        self.cause = cause
        self.kind = kind
        super().__init__(f"no connection to {host}:{port}: {cause}")


class OutboxUnavailable(ExternalError, OSError):
    """An outbox on disk cannot be used: ``where`` names the folder or file, ``cause`` states why."""

    def __init__(self, where: str, cause: str) -> None:
        self.where = where
        self.cause = cause
        super().__init__(f"outbox {where}: {cause}")


class TaskNotPicklableError(UsageError, TypeError):
    """A part of a call cannot be sent to another process: ``part`` names it, ``problem`` states why."""

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
            f"task {task_name!r} was started {times}, and its worker was lost each time ({cause}); "
            "look for a crash in native code, or for a process that the system killed because memory ran out"
        )


class ExecutorUnavailable(ExternalError, ConnectionError):
    """The workers of an executor cannot be reached: ``remedy`` states what to do."""

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
    """A task was cancelled: from outside, by a constraint on the run ``run_id``, or by its own code, when that is "".

    :param by: author of the cancel, as its message claims; empty if it names none.
    """

    def __init__(self, task_name: str, reason: str, *, run_id: str = "", by: str = "") -> None:
        self.task_name = task_name
        self.reason = reason
        self.run_id = run_id
        self.by = by
        super().__init__(f"task {task_name!r} was cancelled: {reason}")


class RunCancelledError(ExternalError):
    """A run was cancelled from outside, by a constraint.

    :param by: author of the cancel, as its message claims; empty if it names none.
    """

    def __init__(self, run_id: str, reason: str, *, by: str = "") -> None:
        self.run_id = run_id
        self.reason = reason
        self.by = by
        super().__init__(f"run {run_id} was cancelled: {reason}")


def _clipped(value: object, limit: int = 80) -> str:
    try:
        text = repr(value)
    except Exception:  # a user's __repr__ must not hide the error itself
        text = object.__repr__(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
