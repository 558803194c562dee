"""The wire of Cascade: its messages, and a reader that needs no engine.

Each name is imported from its module when it is first used: a program that only publishes imports no reader.
:func:`parse` takes a topic and its bytes and returns a message, or None for what it does not understand. :class:`View`
folds messages into engines, runs and registers. Any bytes are accepted: nothing here raises because of them, memory has a
bound, and text from outside stays data: escape it with :func:`cascade.interfaces.text.printable` before you print it.
"""

from typing import TYPE_CHECKING

from cascade.interfaces.on_demand import on_demand

if TYPE_CHECKING:
    from cascade.wire.ended import EndedGraph as EndedGraph
    from cascade.wire.ended import EndedNode as EndedNode
    from cascade.wire.ended import EndedReport as EndedReport
    from cascade.wire.ended import EndedRun as EndedRun
    from cascade.wire.ended import FailedTask as FailedTask
    from cascade.wire.ended import InterruptedTask as InterruptedTask
    from cascade.wire.engine_view import EngineView as EngineView
    from cascade.wire.events import Body as Body
    from cascade.wire.events import DataBody as DataBody
    from cascade.wire.events import Envelope as Envelope
    from cascade.wire.events import LifecycleBody as LifecycleBody
    from cascade.wire.events import LogBody as LogBody
    from cascade.wire.events import ProgressBody as ProgressBody
    from cascade.wire.events import TaskStateBody as TaskStateBody
    from cascade.wire.gates import gate_rows as gate_rows
    from cascade.wire.gates import with_reported_gates as with_reported_gates
    from cascade.wire.leases import LeaseMessage as LeaseMessage
    from cascade.wire.leases import parse_lease as parse_lease
    from cascade.wire.message import Message as Message
    from cascade.wire.message import to_wire as to_wire
    from cascade.wire.parsed import Cleared as Cleared
    from cascade.wire.parsed import EventMessage as EventMessage
    from cascade.wire.parsed import Parsed as Parsed
    from cascade.wire.parsed import Presence as Presence
    from cascade.wire.parsed import Register as Register
    from cascade.wire.parsed import Report as Report
    from cascade.wire.parsed import Store as Store
    from cascade.wire.parsed import parse as parse
    from cascade.wire.parsed import parse_ack as parse_ack
    from cascade.wire.parsed import parse_event as parse_event
    from cascade.wire.parsed import parse_register as parse_register
    from cascade.wire.parsed import parse_report as parse_report
    from cascade.wire.presence import Birth as Birth
    from cascade.wire.presence import ConstraintByHand as ConstraintByHand
    from cascade.wire.presence import Echo as Echo
    from cascade.wire.presence import Offline as Offline
    from cascade.wire.progress import Progress as Progress
    from cascade.wire.progress import label as label
    from cascade.wire.progress import progress_of as progress_of
    from cascade.wire.progress import seconds_left as seconds_left
    from cascade.wire.reading import seconds as seconds
    from cascade.wire.received import Received as Received
    from cascade.wire.reports import Acknowledgement as Acknowledgement
    from cascade.wire.reports import ActiveRun as ActiveRun
    from cascade.wire.reports import AppliedEntry as AppliedEntry
    from cascade.wire.reports import ConstraintsReport as ConstraintsReport
    from cascade.wire.reports import EffectiveEntry as EffectiveEntry
    from cascade.wire.reports import GateEntry as GateEntry
    from cascade.wire.reports import GraphNode as GraphNode
    from cascade.wire.reports import GraphReport as GraphReport
    from cascade.wire.reports import HostReport as HostReport
    from cascade.wire.reports import RecentRun as RecentRun
    from cascade.wire.reports import RunGraph as RunGraph
    from cascade.wire.reports import RunningTask as RunningTask
    from cascade.wire.reports import RunsReport as RunsReport
    from cascade.wire.reports import Summary as Summary
    from cascade.wire.reports import TaskCounts as TaskCounts
    from cascade.wire.reports import Waiting as Waiting
    from cascade.wire.requests import LastRun as LastRun
    from cascade.wire.requests import OfferedSchedule as OfferedSchedule
    from cascade.wire.requests import OfferedWorkflow as OfferedWorkflow
    from cascade.wire.requests import StartRequest as StartRequest
    from cascade.wire.requests import StartResponse as StartResponse
    from cascade.wire.requests import WorkflowsReport as WorkflowsReport
    from cascade.wire.requests import parse_request as parse_request
    from cascade.wire.requests import parse_response as parse_response
    from cascade.wire.rows import author_of as author_of
    from cascade.wire.rows import constraint_rows as constraint_rows
    from cascade.wire.rows import engine_rows as engine_rows
    from cascade.wire.rows import interrupted_rows as interrupted_rows
    from cascade.wire.rows import run_progress as run_progress
    from cascade.wire.rows import run_rows as run_rows
    from cascade.wire.rows import waiting_rows as waiting_rows
    from cascade.wire.run_view import RunView as RunView
    from cascade.wire.run_view import TaskView as TaskView
    from cascade.wire.series import Series as Series
    from cascade.wire.series import body_of as body_of
    from cascade.wire.short_ids import shortened as shortened
    from cascade.wire.view import View as View

_MODULES = {
    "ended": "EndedGraph EndedNode EndedReport EndedRun FailedTask InterruptedTask",
    "engine_view": "EngineView",
    "events": "Body DataBody Envelope LifecycleBody LogBody ProgressBody TaskStateBody",
    "gates": "gate_rows with_reported_gates",
    "leases": "LeaseMessage parse_lease",
    "message": "Message to_wire",
    "parsed": """Cleared EventMessage Parsed Presence Register Report Store parse parse_ack parse_event parse_register
        parse_report""",
    "presence": "Birth ConstraintByHand Echo Offline",
    "progress": "Progress label progress_of seconds_left",
    "reading": "seconds",
    "reports": """Acknowledgement ActiveRun AppliedEntry ConstraintsReport EffectiveEntry GateEntry GraphNode GraphReport
        HostReport RecentRun RunGraph RunningTask RunsReport Summary TaskCounts Waiting""",
    "requests": "LastRun OfferedSchedule OfferedWorkflow StartRequest StartResponse WorkflowsReport parse_request parse_response",
    "rows": "author_of constraint_rows engine_rows interrupted_rows run_progress run_rows waiting_rows",
    "run_view": "RunView TaskView",
    "received": "Received",
    "series": "Series body_of",
    "short_ids": "shortened",
    "view": "View",
}

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = on_demand(__name__, _MODULES)
