"""Cascade: Python jobs that can be watched and steered through the broker you have.

import cascade as cs

@cs.task
def double(x: int) -> int:
return 2 * x

cs.run(double(21))  # 42
"""

__path__ = __import__("pkgutil").extend_path(__path__, __name__)

import logging

from cascade.interfaces import (
    CascadeError,
    Connector,
    ConnectorUnavailable,
    ExternalError,
    TaskCancelledError,
    TaskTimeoutError,
    UsageError,
)
from cascade.runtime import Engine, EventBus, TelemetrySubscriber, ThreadExecutor
from cascade.sdk.connectors import connector
from cascade.sdk.run import arun, run
from cascade.spec import LazyResult, Task, task

__version__ = "0.1.0"

logging.getLogger("cascade").addHandler(logging.NullHandler())

__all__ = [
    "CascadeError",
    "Connector",
    "ConnectorUnavailable",
    "Engine",
    "EventBus",
    "ExternalError",
    "LazyResult",
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
