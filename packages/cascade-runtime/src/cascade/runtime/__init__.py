"""The runtime: engine, event bus, telemetry, control, executors, caches and the in-process connector."""

from typing import TYPE_CHECKING, Any

from cascade.runtime.bus import EventBus
from cascade.runtime.checkpoint import checkpoint
from cascade.runtime.engine import Engine
from cascade.runtime.executors import ThreadExecutor
from cascade.runtime.local import LocalConnector, LocalHub
from cascade.runtime.loops import new_event_loop
from cascade.runtime.resources import override_resource
from cascade.runtime.telemetry import TelemetrySubscriber, describe, one_line

if TYPE_CHECKING:
    from cascade.runtime.executors.process import ProcessExecutor
    from cascade.runtime.storage import MemoryCache, SqliteCache

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
    "new_event_loop",
    "one_line",
    "override_resource",
]

_ON_DEMAND = {
    "MemoryCache": "cascade.runtime.storage",
    "ProcessExecutor": "cascade.runtime.executors.process",
    "SqliteCache": "cascade.runtime.storage",
}


def __getattr__(name: str) -> Any:
    """Import what most programs never use when somebody asks for it."""
    if name in _ON_DEMAND:
        from importlib import import_module

        return getattr(import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
