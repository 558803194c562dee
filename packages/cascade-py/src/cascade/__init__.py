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

from cascade.interfaces.errors import (
    CascadeError,
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
    from cascade.interfaces import Connector
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
        new_event_loop,
    )

__version__ = "0.1.0"

_ON_DEMAND = {
    "Connector": "cascade.interfaces",
    "Engine": "cascade.runtime",
    "EventBus": "cascade.runtime",
    "LocalConnector": "cascade.runtime",
    "MemoryCache": "cascade.runtime",
    "ProcessExecutor": "cascade.runtime",
    "SqliteCache": "cascade.runtime",
    "TelemetrySubscriber": "cascade.runtime",
    "ThreadExecutor": "cascade.runtime",
    "checkpoint": "cascade.runtime",
    "new_event_loop": "cascade.runtime",
}

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
    "new_event_loop",
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
    """Import what declaring tasks does not need when somebody asks for it."""
    if name in _ON_DEMAND:
        from importlib import import_module

        return getattr(import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
