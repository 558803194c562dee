"""The runtime: engine, event bus, telemetry, control, executors, caches and the in-process connector."""

from typing import TYPE_CHECKING

from cascade.interfaces.on_demand import on_demand

if TYPE_CHECKING:
    from cascade.runtime._durable.sqlite_state import SqliteState
    from cascade.runtime._graph.plan import Edge, Step, check_inputs, inputs_of, plan
    from cascade.runtime._outbox.listing import SenderSummary
    from cascade.runtime._outbox.outbox import Outbox
    from cascade.runtime._resources.scope import override_resource
    from cascade.runtime._scheduler.checkpoints import checkpoint
    from cascade.runtime._scheduler.task_functions import publish, step
    from cascade.runtime._support.loops import new_event_loop, run_on_loop
    from cascade.runtime.bus import EventBus
    from cascade.runtime.cache import MemoryCache, SqliteCache
    from cascade.runtime.engine import Engine
    from cascade.runtime.executors import FuturesExecutor, ProcessExecutor, ThreadExecutor
    from cascade.runtime.file import FileConnector
    from cascade.runtime.local import LocalConnector, LocalHub
    from cascade.runtime.telemetry import TelemetrySubscriber

__all__ = [
    "Edge",
    "Engine",
    "EventBus",
    "FileConnector",
    "FuturesExecutor",
    "LocalConnector",
    "LocalHub",
    "MemoryCache",
    "Outbox",
    "ProcessExecutor",
    "SenderSummary",
    "SqliteCache",
    "SqliteState",
    "Step",
    "TelemetrySubscriber",
    "ThreadExecutor",
    "check_inputs",
    "checkpoint",
    "inputs_of",
    "new_event_loop",
    "override_resource",
    "plan",
    "publish",
    "run_on_loop",
    "step",
]

_MODULES = {
    "_durable.sqlite_state": "SqliteState",
    "_graph.plan": "Edge Step check_inputs inputs_of plan",
    "_outbox.listing": "SenderSummary",
    "_outbox.outbox": "Outbox",
    "_resources.scope": "override_resource",
    "_scheduler.checkpoints": "checkpoint",
    "_scheduler.task_functions": "publish step",
    "_support.loops": "new_event_loop run_on_loop",
    "bus": "EventBus",
    "cache": "MemoryCache SqliteCache",
    "engine": "Engine",
    "executors": "FuturesExecutor ProcessExecutor ThreadExecutor",
    "file": "FileConnector",
    "local": "LocalConnector LocalHub",
    "telemetry": "TelemetrySubscriber",
}

if not TYPE_CHECKING:
    __getattr__, __dir__, _ = on_demand(__name__, _MODULES)
