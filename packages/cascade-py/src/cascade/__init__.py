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
    TaskCancelledError,
    TaskTimeoutError,
    UsageError,
)
from cascade.sdk.connectors import connector
from cascade.sdk.run import arun, run
from cascade.spec import LazyResult, Task, task

if TYPE_CHECKING:
    from cascade.runtime import Engine, EventBus, LocalConnector, TelemetrySubscriber, ThreadExecutor

__version__ = "0.1.0"

__all__ = [
    "CascadeError",
    "Connector",
    "ConnectorUnavailable",
    "Engine",
    "EventBus",
    "ExternalError",
    "LazyResult",
    "LocalConnector",
    "Task",
    "TaskCancelledError",
    "TaskTimeoutError",
    "TelemetrySubscriber",
    "ThreadExecutor",
    "UsageError",
    "arun",
    "connector",
    "run",
    "task",
]

_OF_THE_RUNTIME = frozenset({"Engine", "EventBus", "LocalConnector", "TelemetrySubscriber", "ThreadExecutor"})

logging.getLogger("cascade").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Import the runtime when somebody asks for a part of it: declaring tasks does not need it."""
    if name in _OF_THE_RUNTIME:
        from cascade import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
