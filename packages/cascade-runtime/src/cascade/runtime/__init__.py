"""The runtime: engine, event bus, telemetry, executors and the in-process connector."""

from cascade.runtime.bus import EventBus
from cascade.runtime.engine import Engine
from cascade.runtime.executors import ProcessExecutor, ThreadExecutor
from cascade.runtime.local import LocalConnector, LocalHub
from cascade.runtime.resources import override_resource
from cascade.runtime.telemetry import TelemetrySubscriber, describe, one_line

__all__ = [
    "Engine",
    "EventBus",
    "LocalConnector",
    "LocalHub",
    "ProcessExecutor",
    "TelemetrySubscriber",
    "ThreadExecutor",
    "describe",
    "one_line",
    "override_resource",
]
