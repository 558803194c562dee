"""Protocols, events, errors, wire shapes and topics: what every package of Cascade meets at.

Each name is imported from its module when it is first asked for: declaring a task needs the
errors and nothing else of this.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cascade.interfaces.clock import (
        Clock,
    )
    from cascade.interfaces.errors import (
        CacheFileError,
        CacheUnavailable,
        CascadeError,
        ConfigurationError,
        ConnectorNotFoundError,
        ConnectorUnavailable,
        ExecutorNotFoundError,
        ExecutorUnavailable,
        ExternalError,
        InputsError,
        InvalidPayloadError,
        InvalidTargetError,
        InvalidTopicError,
        MapLengthError,
        ResourceNotFoundError,
        RouteError,
        RunCancelledError,
        TaskCallError,
        TaskCancelledError,
        TaskDefinitionError,
        TaskNotPicklableError,
        TaskTimeoutError,
        UncacheableArgumentError,
        UnstorableValueError,
        UsageError,
        WorkerLostError,
        WrongThreadError,
    )
    from cascade.interfaces.events import (
        Event,
        Lifecycle,
        LifecycleEvent,
        ProgressEvent,
        RunStatus,
        TaskState,
        TaskStateEvent,
    )
    from cascade.interfaces.protocols import (
        Connector,
        EventBus,
        Executor,
        MessageCallback,
        Payload,
        Subscription,
        SupportsFlush,
        SupportsLinkState,
        SupportsPublishNowait,
        SupportsSource,
        SupportsStart,
        SupportsStatistics,
        SupportsWatch,
        WatchStream,
        supports,
    )
    from cascade.interfaces.storage import (
        CacheBackend,
        Hit,
    )
    from cascade.interfaces.stream import (
        ConnectorStatistics,
        Linked,
        Lost,
        Message,
        WatchItem,
    )
    from cascade.interfaces.wire import (
        UndecodableMessageError,
    )

__all__ = [
    "CacheBackend",
    "CacheFileError",
    "CacheUnavailable",
    "CascadeError",
    "Clock",
    "ConfigurationError",
    "Connector",
    "ConnectorNotFoundError",
    "ConnectorStatistics",
    "ConnectorUnavailable",
    "Event",
    "EventBus",
    "Executor",
    "ExecutorNotFoundError",
    "ExecutorUnavailable",
    "ExternalError",
    "Hit",
    "InputsError",
    "InvalidPayloadError",
    "InvalidTargetError",
    "InvalidTopicError",
    "Lifecycle",
    "LifecycleEvent",
    "Linked",
    "Lost",
    "MapLengthError",
    "Message",
    "MessageCallback",
    "Payload",
    "ProgressEvent",
    "ResourceNotFoundError",
    "RouteError",
    "RunCancelledError",
    "RunStatus",
    "Subscription",
    "SupportsFlush",
    "SupportsLinkState",
    "SupportsPublishNowait",
    "SupportsSource",
    "SupportsStart",
    "SupportsStatistics",
    "SupportsWatch",
    "TaskCallError",
    "TaskCancelledError",
    "TaskDefinitionError",
    "TaskNotPicklableError",
    "TaskState",
    "TaskStateEvent",
    "TaskTimeoutError",
    "UncacheableArgumentError",
    "UndecodableMessageError",
    "UnstorableValueError",
    "UsageError",
    "WatchItem",
    "WatchStream",
    "WorkerLostError",
    "WrongThreadError",
    "supports",
]

_MODULES = {
    "clock": ("Clock",),
    "errors": (
        "CacheFileError",
        "CacheUnavailable",
        "CascadeError",
        "ConfigurationError",
        "ConnectorNotFoundError",
        "ConnectorUnavailable",
        "ExecutorNotFoundError",
        "ExecutorUnavailable",
        "ExternalError",
        "InputsError",
        "InvalidPayloadError",
        "InvalidTargetError",
        "InvalidTopicError",
        "MapLengthError",
        "ResourceNotFoundError",
        "RouteError",
        "RunCancelledError",
        "TaskCallError",
        "TaskCancelledError",
        "TaskDefinitionError",
        "TaskNotPicklableError",
        "TaskTimeoutError",
        "UncacheableArgumentError",
        "UnstorableValueError",
        "UsageError",
        "WorkerLostError",
        "WrongThreadError",
    ),
    "events": (
        "Event",
        "Lifecycle",
        "LifecycleEvent",
        "ProgressEvent",
        "RunStatus",
        "TaskState",
        "TaskStateEvent",
    ),
    "protocols": (
        "Connector",
        "EventBus",
        "Executor",
        "MessageCallback",
        "Payload",
        "Subscription",
        "SupportsFlush",
        "SupportsLinkState",
        "SupportsPublishNowait",
        "SupportsSource",
        "SupportsStart",
        "SupportsStatistics",
        "SupportsWatch",
        "WatchStream",
        "supports",
    ),
    "storage": (
        "CacheBackend",
        "Hit",
    ),
    "stream": (
        "ConnectorStatistics",
        "Linked",
        "Lost",
        "Message",
        "WatchItem",
    ),
    "wire": ("UndecodableMessageError",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name from its module, once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
