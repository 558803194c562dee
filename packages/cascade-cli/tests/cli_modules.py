"""The inner parts of the command that these tests use: a module that moves changes this file."""

# mypy: implicit-reexport
# ruff: noqa: F401 - imported from here by the tests

from __future__ import annotations

from cascade.cli import _drawing as drawing
from cascade.cli._broker import server as broker_server
from cascade.cli._broker.server import Server, served
from cascade.cli._broker.sockets import listening, of_lsof, of_netstat, of_proc
from cascade.cli._commands import broker as broker_command
from cascade.cli._commands import constraints, ps, runs
from cascade.cli._commands import history as history_command
from cascade.cli._commands import outbox as outbox_command
from cascade.cli._running import keywords
from cascade.cli._running.options import run_options
from cascade.cli._running.result import as_json
from cascade.cli._running.result import show as show_value
from cascade.cli._running.summary import RunSummary
from cascade.cli._running.warnings import warnings_on_stderr
from cascade.cli._steering import publishing
from cascade.cli._steering.compliance import ComplianceTracker, outcome
from cascade.cli._steering.publishing import Wait, _ChangePublisher, steer
from cascade.cli._steering.request import Change, clearing, setting
from cascade.cli._watching import changes as changes_module
from cascade.cli._watching import feed as feeds
from cascade.cli._watching import only_events
from cascade.cli._watching import show as show_module
from cascade.cli._watching.changes import Changes, in_words
from cascade.cli._watching.done import SURE_SECONDS, Until
from cascade.cli._watching.drawing import Frame, draw
from cascade.cli._watching.feed import Feed
from cascade.cli._watching.picture import (
    ConstraintLine,
    EndedLine,
    EngineLine,
    OfferLine,
    Picture,
    RunningLine,
    RunPanel,
    WaitingLine,
    describe,
    take,
)
from cascade.cli._watching.rates import Rates
from cascade.cli._watching.show import Lines, Screen
from cascade.cli._workflow.source import split
from cascade.runtime._outbox.file import OutboxFile
