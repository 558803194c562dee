# ruff: noqa: F403 - type checkers see the public names of these modules; a test compares them with _MODULES
"""Protocols, events and errors: what every package of Cascade shares.

Each name is imported from its module when it is first used: declaring a task needs the errors
and nothing else of this.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cascade.interfaces.abilities import *
    from cascade.interfaces.cache import *
    from cascade.interfaces.call_context import *
    from cascade.interfaces.clock import *
    from cascade.interfaces.connector import *
    from cascade.interfaces.errors import *
    from cascade.interfaces.event_bus import *
    from cascade.interfaces.events import *
    from cascade.interfaces.executor import *
    from cascade.interfaces.limitation import *
    from cascade.interfaces.redaction import *
    from cascade.interfaces.state import *
    from cascade.interfaces.state_errors import *
    from cascade.interfaces.statistics import *
    from cascade.interfaces.step import *
    from cascade.interfaces.watch import *
    from cascade.interfaces.wire.write import UndecodableMessageError as UndecodableMessageError

_MODULES = {
    "abilities": """Delivery SupportsBacklog SupportsBroker SupportsCheck SupportsDelivery SupportsExtend SupportsFlush
        SupportsKeep SupportsLimitations SupportsLink SupportsPublishNowait
        SupportsResize SupportsStart SupportsStatistics SupportsTracking SupportsWatch WatchStream supports""",
    "cache": """CacheBackend CacheFileError CacheUnavailable Hit UncacheableArgumentError UnstorableValueError""",
    "call_context": """CallContext Directive InCall SupportsCallContext""",
    "clock": """Clock SupportsTimers Timer""",
    "connector": """Connector MessageCallback Payload Subscription""",
    "errors": """CascadeError ConfigurationError ConnectorNotFoundError ConnectorUnavailable ExecutorNotFoundError
        ExecutorUnavailable ExternalError InputsError InvalidPayloadError InvalidTargetError InvalidTopicError
        MapLengthError OutboxUnavailable PluginNotFoundError ResourceCapacityError ResourceFailedError ResourceNotFoundError RouteError
        RunCancelledError TaskCallError TaskCancelledError TaskDefinitionError TaskNotPicklableError TaskTimeoutError
        UnknownResourceError UsageError WorkerLostError WrongThreadError""",
    "event_bus": """EventBus""",
    "events": """DataEvent Event Lifecycle LifecycleEvent LogEvent ProgressEvent RunStatus Tag TaskState TaskStateEvent""",
    "executor": """Executor""",
    "limitation": """Lacking Limitation""",
    "redaction": """Redactor describe""",
    "state": """ChangeKind Earlier Journal NO_EVENTS PendingEvent Plan RecordedStatus Resume RunInfo RunSummary StateBackend StepChange
        StepEvents StepRecord StepState StepSummary SupportsControlMemory""",
    "state_errors": """RunChangedError RunEndedError RunInUseError RunInputsError StateUnavailable StepInDoubtError
        StepKeepsDyingError UnreadableResultError""",
    "step": """Middleware StepInfo""",
    "statistics": """ConnectorStatistics""",
    "watch": """Complete Linked Lost Message WatchItem""",
    "wire.write": """UndecodableMessageError""",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

if not TYPE_CHECKING:
    __all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a name from its module, once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """List the names that are imported on demand, too."""
    return sorted({*globals(), *_HOMES})
