"""The messages of the wire, read for a command, a page or a collector. No I/O.

A parser takes a topic and its bytes and returns a message, or None for what it does not
understand. :class:`View` folds messages into engines, runs and registers. Any bytes are accepted:
nothing here raises because of them, memory has a bound, and text from outside stays data: escape
it with :func:`cascade.interfaces.text.printable` before you print it.
"""

from cascade.interfaces.wire.read._engine import EngineView
from cascade.interfaces.wire.read._fields import number, text
from cascade.interfaces.wire.read._lines import DataItem, LogLine, data_item, log_line
from cascade.interfaces.wire.read._messages import (
    Cleared,
    Compliance,
    ConstraintsReport,
    EventMessage,
    Presence,
    Register,
    Store,
    parse_event,
    parse_presence,
    parse_register,
)
from cascade.interfaces.wire.read._parse import Message, parse
from cascade.interfaces.wire.read._received import Received
from cascade.interfaces.wire.read._report import Report, parse_ack, parse_report
from cascade.interfaces.wire.read._rows import constraint_rows, engine_rows, recent_rows, run_rows
from cascade.interfaces.wire.read._run import RunView, TaskView
from cascade.interfaces.wire.read._runs_report import (
    RecentRow,
    RunningRow,
    RunRow,
    RunsReport,
    TaskTotals,
    WaitingRow,
)
from cascade.interfaces.wire.read._state import (
    Ack,
    GraphEdge,
    GraphNode,
    GraphReport,
    HostReport,
    RunGraph,
    Summary,
)
from cascade.interfaces.wire.read._view import View

__all__ = [
    "Ack",
    "Cleared",
    "Compliance",
    "ConstraintsReport",
    "DataItem",
    "EngineView",
    "EventMessage",
    "GraphEdge",
    "GraphNode",
    "GraphReport",
    "HostReport",
    "LogLine",
    "Message",
    "Presence",
    "Received",
    "RecentRow",
    "Register",
    "Report",
    "RunGraph",
    "RunRow",
    "RunView",
    "RunningRow",
    "RunsReport",
    "Store",
    "Summary",
    "TaskTotals",
    "TaskView",
    "View",
    "WaitingRow",
    "constraint_rows",
    "data_item",
    "engine_rows",
    "log_line",
    "number",
    "parse",
    "parse_ack",
    "parse_event",
    "parse_presence",
    "parse_register",
    "parse_report",
    "recent_rows",
    "run_rows",
    "text",
]
