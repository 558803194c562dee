"""The wire of Cascade: its messages, and a reader that needs no engine.

Each name is imported from its module when it is first used: a program that only publishes imports no reader.
:func:`parse` takes a topic and its bytes and returns a message, or None for what it does not understand. :class:`View`
folds messages into engines, runs and registers. Any bytes are accepted: nothing here raises because of them, memory has a
bound, and text from outside stays data: escape it with :func:`cascade.interfaces.text.printable` before you print it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cascade.wire.engine_view import EngineView
    from cascade.wire.events import (
        Body,
        DataBody,
        Envelope,
        LifecycleBody,
        LogBody,
        ProgressBody,
        TaskStateBody,
    )
    from cascade.wire.lines import DataItem, LogLine
    from cascade.wire.message import Message, to_wire
    from cascade.wire.parsed import (
        Cleared,
        EventMessage,
        Parsed,
        Presence,
        Register,
        Report,
        Store,
        parse,
        parse_ack,
        parse_event,
        parse_register,
        parse_report,
    )
    from cascade.wire.presence import Birth, ConstraintByHand, Echo, Offline
    from cascade.wire.reading import seconds
    from cascade.wire.received import Received
    from cascade.wire.reports import (
        Acknowledgement,
        ActiveRun,
        AppliedEntry,
        ConstraintsReport,
        EffectiveEntry,
        GraphNode,
        GraphReport,
        HostReport,
        RecentRun,
        RunGraph,
        RunningTask,
        RunsReport,
        Summary,
        TaskCounts,
        Waiting,
    )
    from cascade.wire.rows import constraint_rows, engine_rows, run_rows
    from cascade.wire.run_view import RunView, TaskView
    from cascade.wire.series import Series, body_of
    from cascade.wire.view import View

_MODULES = {
    "engine_view": "EngineView",
    "events": "Body DataBody Envelope LifecycleBody LogBody ProgressBody TaskStateBody",
    "lines": "DataItem LogLine",
    "message": "Message to_wire",
    "parsed": """Cleared EventMessage Parsed Presence Register Report Store parse parse_ack parse_event parse_register
        parse_report""",
    "presence": "Birth ConstraintByHand Echo Offline",
    "reading": "seconds",
    "reports": """Acknowledgement ActiveRun AppliedEntry ConstraintsReport EffectiveEntry GraphNode GraphReport HostReport
        RecentRun RunGraph RunningTask RunsReport Summary TaskCounts Waiting""",
    "rows": "constraint_rows engine_rows run_rows",
    "run_view": "RunView TaskView",
    "received": "Received",
    "series": "Series body_of",
    "view": "View",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "Acknowledgement",
    "ActiveRun",
    "AppliedEntry",
    "Birth",
    "Body",
    "Cleared",
    "ConstraintByHand",
    "ConstraintsReport",
    "DataBody",
    "DataItem",
    "Echo",
    "EffectiveEntry",
    "EngineView",
    "Envelope",
    "EventMessage",
    "GraphNode",
    "GraphReport",
    "HostReport",
    "LifecycleBody",
    "LogBody",
    "LogLine",
    "Message",
    "Offline",
    "Parsed",
    "Presence",
    "ProgressBody",
    "Received",
    "RecentRun",
    "Register",
    "Report",
    "RunGraph",
    "RunView",
    "RunningTask",
    "RunsReport",
    "Series",
    "Store",
    "Summary",
    "TaskCounts",
    "TaskStateBody",
    "TaskView",
    "View",
    "Waiting",
    "body_of",
    "constraint_rows",
    "engine_rows",
    "parse",
    "parse_ack",
    "parse_event",
    "parse_register",
    "parse_report",
    "run_rows",
    "seconds",
    "to_wire",
]


def __getattr__(name: str) -> Any:
    """Import a name from its module, once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """List the names that are imported on demand, too."""
    return sorted({*globals(), *__all__})
