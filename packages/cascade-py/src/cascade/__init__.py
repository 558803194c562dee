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

if TYPE_CHECKING:
    from cascade.interfaces import (
        CacheFileError,
        CacheUnavailable,
        CascadeError,
        ConfigurationError,
        Connector,
        ConnectorNotFoundError,
        ConnectorUnavailable,
        ExecutorNotFoundError,
        ExecutorUnavailable,
        ExternalError,
        Failure,
        InputsError,
        InvalidPayloadError,
        InvalidTargetError,
        InvalidTopicError,
        MapLengthError,
        MissingItemError,
        ObserverNotFoundError,
        OutboxUnavailable,
        PluginNotFoundError,
        Redactor,
        ResourceCapacityError,
        ResourceFailedError,
        ResourceNotFoundError,
        RouteError,
        RunCancelledError,
        RunChangedError,
        RunEndedError,
        RunInputsError,
        RunInUseError,
        RunResult,
        StateUnavailable,
        StepInDoubtError,
        StepInfo,
        StepKeepsDyingError,
        TaskCallError,
        TaskCancelledError,
        TaskDefinitionError,
        TaskNotPicklableError,
        TaskTimeoutError,
        UncacheableArgumentError,
        UndecodableMessageError,
        UnknownResourceError,
        UnreadableResultError,
        UnstorableValueError,
        UsageError,
        WorkerLostError,
        WrongThreadError,
    )
    from cascade.interfaces.gates import (
        Gate,
        gate,
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
    from cascade.sdk.declarations import (
        CachePolicy,
        Env,
        LazyResult,
        Param,
        Resource,
        Router,
        Task,
        Workflow,
        inject,
        pipeline,
        resource,
        sequence,
        task,
        workflow,
    )
    from cascade.sdk.declared_settings import (
        settings,
    )
    from cascade.sdk.plugins import (
        connector,
        executor,
    )
    from cascade.sdk.run import (
        arun,
        run,
    )
    from cascade.sdk.script import (
        main,
    )
    from cascade.sdk.serve import (
        aserve,
        serve,
    )
    from cascade.sdk.tools import (
        dry_run,
        to_json,
        visualize,
    )

__version__ = "0.1.0"

_MODULES = {
    "cascade.interfaces": (
        "CacheFileError",
        "CacheUnavailable",
        "CascadeError",
        "ConfigurationError",
        "Connector",
        "ConnectorNotFoundError",
        "ConnectorUnavailable",
        "ExecutorNotFoundError",
        "ExecutorUnavailable",
        "ExternalError",
        "Failure",
        "InputsError",
        "InvalidPayloadError",
        "InvalidTargetError",
        "InvalidTopicError",
        "MapLengthError",
        "MissingItemError",
        "ObserverNotFoundError",
        "OutboxUnavailable",
        "PluginNotFoundError",
        "Redactor",
        "ResourceCapacityError",
        "ResourceFailedError",
        "ResourceNotFoundError",
        "RouteError",
        "RunCancelledError",
        "RunChangedError",
        "RunEndedError",
        "RunInUseError",
        "RunInputsError",
        "RunResult",
        "StateUnavailable",
        "StepInDoubtError",
        "StepInfo",
        "StepKeepsDyingError",
        "TaskCallError",
        "TaskCancelledError",
        "TaskDefinitionError",
        "TaskNotPicklableError",
        "TaskTimeoutError",
        "UncacheableArgumentError",
        "UndecodableMessageError",
        "UnknownResourceError",
        "UnreadableResultError",
        "UnstorableValueError",
        "UsageError",
        "WorkerLostError",
        "WrongThreadError",
    ),
    "cascade.interfaces.gates": (
        "Gate",
        "gate",
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
    "cascade.sdk.declarations": (
        "CachePolicy",
        "Env",
        "LazyResult",
        "Param",
        "Resource",
        "Router",
        "Task",
        "Workflow",
        "inject",
        "pipeline",
        "resource",
        "sequence",
        "task",
        "workflow",
    ),
    "cascade.sdk.declared_settings": ("settings",),
    "cascade.sdk.plugins": (
        "connector",
        "executor",
    ),
    "cascade.sdk.run": (
        "arun",
        "run",
    ),
    "cascade.sdk.script": ("main",),
    "cascade.sdk.serve": (
        "aserve",
        "serve",
    ),
    "cascade.sdk.tools": (
        "dry_run",
        "to_json",
        "visualize",
    ),
}
_ELSEWHERE = {
    "MqttConnector": "cascade.connectors.mqtt",
    "NatsConnector": "cascade.connectors.nats",
    "DaskExecutor": "cascade.executors.dask",
    "ManualClock": "cascade.testing",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

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
    "Failure",
    "FileConnector",
    "Gate",
    "InputsError",
    "InvalidPayloadError",
    "InvalidTargetError",
    "InvalidTopicError",
    "LazyResult",
    "LocalConnector",
    "MapLengthError",
    "MemoryCache",
    "MissingItemError",
    "ObserverNotFoundError",
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
    "RunResult",
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
    "Workflow",
    "WrongThreadError",
    "arun",
    "aserve",
    "checkpoint",
    "connector",
    "dry_run",
    "executor",
    "gate",
    "inject",
    "main",
    "new_event_loop",
    "pipeline",
    "publish",
    "resource",
    "run",
    "sequence",
    "serve",
    "settings",
    "step",
    "task",
    "to_json",
    "visualize",
    "workflow",
]


def __getattr__(name: str) -> Any:
    """Import a name at its first use, so that a program and a command load only what they need."""
    if name in _MODULE_OF:
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value
    from cascade.interfaces.text import meant

    remedy = f"; it is in {_ELSEWHERE[name]}" if name in _ELSEWHERE else meant(name, __all__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{remedy}")


def __dir__() -> list[str]:
    """List the names that are imported on demand, too."""
    return sorted({*globals(), *__all__})
