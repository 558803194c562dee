"""Parts of control that tests drive without an engine: the one place that says in which modules they are."""

from cascade.runtime._control.connected_engines import broker_state
from cascade.runtime._control.constraint_log import LINES_PER_MINUTE, ControlLog, SyncLog
from cascade.runtime._control.constraint_manager import ConstraintManager
from cascade.runtime._control.constraint_stream import ConstraintStream, exact_topics
from cascade.runtime._control.engine_control import EngineControl
from cascade.runtime._control.remembered_constraints import RETRY_AFTER, ControlMemory
from cascade.runtime._control.reports import (
    MAX_ENTRIES,
    REPEAT,
    Gates,
    Reporter,
    ReportSchedule,
    constraints_report,
)
from cascade.runtime._control.watched_state import WatchedState, host_report
from cascade.runtime._gates.state import GateState, WindowState
from cascade.runtime._gates.values import NoValue, read_value
from cascade.runtime._registers.notices import Notice
from cascade.runtime._registers.parsing import (
    MAX_BYTES,
    Cleared,
    Constraint,
    MessageOutcome,
    Misspelled,
    Rejected,
    Unsupported,
    parse,
)
from cascade.runtime._registers.registers import (
    MAX_PROBLEMS,
    MAX_REGISTERS,
    Registers,
)
from cascade.runtime._registers.sync import COMPLETE_LIMIT, READ_LIMIT, Sync, SyncState
from cascade.runtime._run_reports.active_run import ActiveRun
from cascade.runtime._run_reports.ended_runs import ended_report, ended_run
from cascade.runtime._run_reports.report_bodies import (
    RowMaker,
    graph_report,
    runs_report,
    summary_report,
)
from cascade.runtime._run_reports.reported_runs import RunTable
from cascade.runtime._run_reports.run_history import RunHistory
from cascade.runtime._support.loops import cancel
from cascade.runtime._support.publish_queue import PublishQueue
from cascade.runtime._support.run_facts import MAX_NODES, RunFacts
from cascade.runtime._support.settings import RunIdentity
from cascade.runtime.local._retained import RetainedMessages

__all__ = [
    "COMPLETE_LIMIT",
    "LINES_PER_MINUTE",
    "MAX_BYTES",
    "MAX_ENTRIES",
    "MAX_NODES",
    "MAX_PROBLEMS",
    "MAX_REGISTERS",
    "READ_LIMIT",
    "REPEAT",
    "RETRY_AFTER",
    "ActiveRun",
    "Cleared",
    "Constraint",
    "ConstraintManager",
    "ConstraintStream",
    "ControlLog",
    "ControlMemory",
    "EngineControl",
    "GateState",
    "Gates",
    "MessageOutcome",
    "Misspelled",
    "NoValue",
    "Notice",
    "PublishQueue",
    "Registers",
    "Rejected",
    "ReportSchedule",
    "Reporter",
    "RetainedMessages",
    "RowMaker",
    "RunFacts",
    "RunHistory",
    "RunIdentity",
    "RunTable",
    "Sync",
    "SyncLog",
    "SyncState",
    "Unsupported",
    "WatchedState",
    "WindowState",
    "broker_state",
    "cancel",
    "constraints_report",
    "ended_report",
    "ended_run",
    "exact_topics",
    "graph_report",
    "host_report",
    "parse",
    "read_value",
    "runs_report",
    "summary_report",
]
