"""The runtime: engine, event bus, telemetry, control, executors, caches and the in-process connector."""

from cascade.runtime.bus import EventBus
from cascade.runtime.checkpoint import checkpoint
from cascade.runtime.engine import Engine
from cascade.runtime.executors import ProcessExecutor, ThreadExecutor
from cascade.runtime.local import LocalConnector, LocalHub
from cascade.runtime.resources import override_resource
from cascade.runtime.storage import MemoryCache, SqliteCache
from cascade.runtime.telemetry import TelemetrySubscriber, describe, one_line

__all__ = [
    "Engine",
    "EventBus",
    "LocalConnector",
    "LocalHub",
    "MemoryCache",
    "ProcessExecutor",
    "SqliteCache",
    "TelemetrySubscriber",
    "ThreadExecutor",
    "checkpoint",
    "describe",
    "one_line",
    "override_resource",
]
