"""Cascade: Python jobs that can be watched and steered through the broker you have.

>>> import cascade as cs
>>> @cs.task
... def double(x: int) -> int:
...     return 2 * x
>>> cs.run(double(double(10)))
40
"""

__path__ = __import__("pkgutil").extend_path(__path__, __name__)

import logging
from typing import TYPE_CHECKING, Any

from cascade.interfaces import (
    CascadeError,
    Connector,
    ConnectorUnavailable,
    ExternalError,
    RunCancelledError,
    TaskCancelledError,
    TaskTimeoutError,
    UsageError,
)
from cascade.sdk.plugins import connector, executor
from cascade.sdk.run import arun, run
from cascade.sdk.tools import dry_run, to_json, visualize
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
    from cascade.runtime import (
        Engine,
        EventBus,
        LocalConnector,
        MemoryCache,
        ProcessExecutor,
        SqliteCache,
        TelemetrySubscriber,
        ThreadExecutor,
        checkpoint,
    )

__version__ = "0.1.0"

_OF_THE_RUNTIME = frozenset(
    {
        "Engine",
        "EventBus",
        "LocalConnector",
        "MemoryCache",
        "ProcessExecutor",
        "SqliteCache",
        "TelemetrySubscriber",
        "ThreadExecutor",
        "checkpoint",
    }
)

__all__ = [
    "CachePolicy",
    "CascadeError",
    "Connector",
    "ConnectorUnavailable",
    "Engine",
    "Env",
    "EventBus",
    "ExternalError",
    "LazyResult",
    "LocalConnector",
    "MemoryCache",
    "Param",
    "ProcessExecutor",
    "Resource",
    "Router",
    "RunCancelledError",
    "SqliteCache",
    "Task",
    "TaskCancelledError",
    "TaskTimeoutError",
    "TelemetrySubscriber",
    "ThreadExecutor",
    "UsageError",
    "arun",
    "checkpoint",
    "connector",
    "dry_run",
    "executor",
    "inject",
    "pipeline",
    "resource",
    "run",
    "sequence",
    "task",
    "to_json",
    "visualize",
]

logging.getLogger("cascade").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Import the runtime when somebody asks for a part of it: declaring tasks does not need it."""
    if name in _OF_THE_RUNTIME:
        from cascade import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
