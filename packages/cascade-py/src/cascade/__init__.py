"""Cascade: Python jobs that can be watched and steered through the broker you have.

>>> import cascade as cs
>>> @cs.task
... def double(x: int) -> int:
...     return 2 * x
>>> cs.run(double(double(10)))
40
"""

__path__ = __import__("pkgutil").extend_path(__path__, __name__)

from typing import TYPE_CHECKING, Any

from cascade.interfaces.errors import (
    CascadeError,
    ConnectorUnavailable,
    ExternalError,
    RunCancelledError,
    TaskCancelledError,
    TaskTimeoutError,
    UsageError,
)
from cascade.sdk import _notebook as _notebook  # shows lazy results there
from cascade.sdk.plugins import connector, executor
from cascade.sdk.run import arun, run
from cascade.spec import (
    CachePolicy,
    Env,
    LazyResult,
    Param,
    Resource,
    Router,
    Task,
    inject,
    pipeline,
    resource,
    sequence,
    task,
)

if TYPE_CHECKING:
    from cascade.interfaces import (
        CacheFileError,
        CacheUnavailable,
        ConfigurationError,
        Connector,
        ConnectorNotFoundError,
        ExecutorNotFoundError,
        ExecutorUnavailable,
        InputsError,
        InvalidPayloadError,
        InvalidTargetError,
        InvalidTopicError,
        MapLengthError,
        OutboxUnavailable,
        PluginNotFoundError,
        Redactor,
        ResourceCapacityError,
        ResourceFailedError,
        ResourceNotFoundError,
        RouteError,
        RunChangedError,
        RunEndedError,
        RunInputsError,
        RunInUseError,
        StateUnavailable,
        StepInDoubtError,
        StepInfo,
        StepKeepsDyingError,
        TaskCallError,
        TaskDefinitionError,
        TaskNotPicklableError,
        UncacheableArgumentError,
        UndecodableMessageError,
        UnknownResourceError,
        UnreadableResultError,
        UnstorableValueError,
        WorkerLostError,
        WrongThreadError,
    )
    from cascade.runtime import (
        Engine,
        EventBus,
        FileConnector,
        LocalConnector,
        MemoryCache,
        Outbox,
        ProcessExecutor,
        SqliteCache,
        SqliteState,
        TelemetrySubscriber,
        ThreadExecutor,
        checkpoint,
        new_event_loop,
        publish,
        step,
    )
    from cascade.sdk.script import main
    from cascade.sdk.tools import dry_run, to_json, visualize

__version__ = "0.1.0"

_LATER = {
    "cascade.interfaces": (
        "CacheFileError",
        "CacheUnavailable",
        "ConfigurationError",
        "Connector",
        "ConnectorNotFoundError",
        "ExecutorNotFoundError",
        "ExecutorUnavailable",
        "InputsError",
        "InvalidPayloadError",
        "InvalidTargetError",
        "InvalidTopicError",
        "MapLengthError",
        "OutboxUnavailable",
        "PluginNotFoundError",
        "Redactor",
        "ResourceCapacityError",
        "ResourceFailedError",
        "ResourceNotFoundError",
        "RouteError",
        "RunChangedError",
        "RunEndedError",
        "RunInUseError",
        "RunInputsError",
        "StateUnavailable",
        "StepInDoubtError",
        "StepInfo",
        "StepKeepsDyingError",
        "TaskCallError",
        "TaskDefinitionError",
        "TaskNotPicklableError",
        "UncacheableArgumentError",
        "UndecodableMessageError",
        "UnknownResourceError",
        "UnreadableResultError",
        "UnstorableValueError",
        "WorkerLostError",
        "WrongThreadError",
    ),
    "cascade.runtime": (
        "Engine",
        "EventBus",
        "FileConnector",
        "LocalConnector",
        "MemoryCache",
        "Outbox",
        "ProcessExecutor",
        "SqliteCache",
        "SqliteState",
        "TelemetrySubscriber",
        "ThreadExecutor",
        "checkpoint",
        "new_event_loop",
        "publish",
        "step",
    ),
    "cascade.sdk.script": ("main",),
    "cascade.sdk.tools": ("dry_run", "to_json", "visualize"),
}
_ON_DEMAND = {name: module for module, names in _LATER.items() for name in names}

__all__ = [
    "CacheFileError",
    "CachePolicy",
    "CacheUnavailable",
    "CascadeError",
    "ConfigurationError",
    "Connector",
    "ConnectorNotFoundError",
    "ConnectorUnavailable",
    "Engine",
    "Env",
    "EventBus",
    "ExecutorNotFoundError",
    "ExecutorUnavailable",
    "ExternalError",
    "FileConnector",
    "InputsError",
    "InvalidPayloadError",
    "InvalidTargetError",
    "InvalidTopicError",
    "LazyResult",
    "LocalConnector",
    "MapLengthError",
    "MemoryCache",
    "Outbox",
    "OutboxUnavailable",
    "Param",
    "PluginNotFoundError",
    "ProcessExecutor",
    "Redactor",
    "Resource",
    "ResourceCapacityError",
    "ResourceFailedError",
    "ResourceNotFoundError",
    "RouteError",
    "Router",
    "RunCancelledError",
    "RunChangedError",
    "RunEndedError",
    "RunInUseError",
    "RunInputsError",
    "SqliteCache",
    "SqliteState",
    "StateUnavailable",
    "StepInDoubtError",
    "StepInfo",
    "StepKeepsDyingError",
    "Task",
    "TaskCallError",
    "TaskCancelledError",
    "TaskDefinitionError",
    "TaskNotPicklableError",
    "TaskTimeoutError",
    "TelemetrySubscriber",
    "ThreadExecutor",
    "UncacheableArgumentError",
    "UndecodableMessageError",
    "UnknownResourceError",
    "UnreadableResultError",
    "UnstorableValueError",
    "UsageError",
    "WorkerLostError",
    "WrongThreadError",
    "arun",
    "checkpoint",
    "connector",
    "dry_run",
    "executor",
    "inject",
    "main",
    "new_event_loop",
    "pipeline",
    "publish",
    "resource",
    "run",
    "sequence",
    "step",
    "task",
    "to_json",
    "visualize",
]


def __getattr__(name: str) -> Any:
    """Import a name at its first use: declaring tasks needs none of these."""
    if name in _ON_DEMAND:
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_ON_DEMAND[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the names that are imported on demand, too."""
    return sorted({*globals(), *__all__})
