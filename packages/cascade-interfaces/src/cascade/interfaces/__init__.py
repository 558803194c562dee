# ruff: noqa: F403 - type checkers see the public names of these modules; a test compares them with _MODULES
"""Protocols, events and errors: what every package of Cascade shares.

Each name is imported from its module when it is first used: declaring a task needs the errors
and nothing else of this.
"""

from typing import TYPE_CHECKING

from cascade.interfaces.on_demand import on_demand

if TYPE_CHECKING:
    from cascade.interfaces.abilities import *
    from cascade.interfaces.cache import *
    from cascade.interfaces.call_context import *
    from cascade.interfaces.clock import *
    from cascade.interfaces.connector import *
    from cascade.interfaces.errors import *
    from cascade.interfaces.events import *
    from cascade.interfaces.executor import *
    from cascade.interfaces.failures import *
    from cascade.interfaces.redaction import *
    from cascade.interfaces.state import *
    from cascade.interfaces.state_errors import *
    from cascade.interfaces.watch import *
    from cascade.interfaces.wire import UndecodableMessageError as UndecodableMessageError

_MODULES = {
    "abilities": """ConnectorStatistics Delivery Lacking Limitation SupportsBacklog SupportsBroker SupportsCheck SupportsDelivery SupportsExtend SupportsFlush
        SupportsKeep SupportsLimitations SupportsLink SupportsPublishNowait SupportsReplies
        SupportsResize SupportsSendNow SupportsStart SupportsStatistics SupportsTracking SupportsWatch WatchStream supports""",
    "cache": """CacheBackend CacheFileError CacheUnavailable Hit UncacheableArgumentError UnstorableValueError""",
    "call_context": """CallContext Directive InCall Middleware ReportChannel RunningCall StepInfo SupportsCallContext""",
    "clock": """Clock SupportsTimers Timer""",
    "connector": """Connector MessageCallback Payload Subscription""",
    "errors": """CascadeError ConfigurationError ConnectorNotFoundError ConnectorUnavailable ExecutorNotFoundError
        ExecutorUnavailable ExternalError InputsError InvalidPayloadError InvalidTargetError InvalidTopicError
        MapLengthError MissingItemError ObserverNotFoundError OutboxUnavailable PluginNotFoundError ResourceCapacityError ResourceFailedError ResourceNotFoundError RouteError
        RunCancelledError TaskCallError TaskCancelledError TaskDefinitionError TaskNotPicklableError TaskTimeoutError
        UnknownResourceError UsageError WorkerLostError WrongThreadError""",
    "events": """DataEvent Event EventBus Lifecycle LifecycleEvent LogEvent ProgressEvent RunLease RunStatus Tag TaskState TaskStateEvent""",
    "executor": """AbandonedCalls Executor""",
    "failures": """Failure RunResult""",
    "redaction": """Redactor describe""",
    "state": """ChangeKind Earlier Journal NO_EVENTS PendingEvent Plan RecordedStatus Resume RunInfo RunSummary StateBackend StepChange
        StepEvents StepRecord StepState StepSummary SupportsControlMemory""",
    "state_errors": """RunChangedError RunEndedError RunInUseError RunInputsError StateUnavailable StepInDoubtError
        StepKeepsDyingError UnreadableResultError""",
    "watch": """Complete Linked Lost Message ReplyTo WatchItem""",
    "wire": """UndecodableMessageError""",
}

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = on_demand(__name__, _MODULES)
