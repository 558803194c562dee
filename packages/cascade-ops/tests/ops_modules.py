"""The inner parts of the commands that these tests use: a module that moves changes this file."""

# mypy: implicit-reexport
# ruff: noqa: F401 - imported from here by the tests

from cascade.ops import _retained_writes as retained_writes
from cascade.ops._collecting import collector as collector_module
from cascade.ops._collecting import sqlite_file
from cascade.ops._collecting.collector import Collector
from cascade.ops._collecting.lines_file import LinesFile
from cascade.ops._collecting.message import Change, EventFile, Known, Received, Recent, Series
from cascade.ops._collecting.spans import Spans
from cascade.ops._collecting.sqlite_file import SqliteFile
from cascade.ops._commands.collect import BACKLOG
from cascade.ops._commands.doctor import findings
from cascade.ops._doctor import broker_probes, examination, gate_probes, network_probes
from cascade.ops._doctor.broker_checks import MANY_SESSIONS
from cascade.ops._doctor.examination import Examination, files_of, target_of
from cascade.ops._doctor.facts import (
    Ask,
    Certificate,
    Configuration,
    Facts,
    Files,
    Login,
    Reachability,
    Retained,
    Right,
    Target,
)
from cascade.ops._doctor.finding import Finding, parted
from cascade.ops._doctor.local_server import local_configuration
from cascade.ops._doctor.network_probes import find_websocket, try_port, try_tls
from cascade.ops._doctor.report import lines_of, plan_of
from cascade.ops._doctor.rights_checks import EVENTS, OWN_SYNC, PRESENCE, PROGRESS, STEERING, SYNC
from cascade.ops._exporting import server
from cascade.ops._exporting.following import followed
from cascade.ops._exporting.metrics import BUCKETS, MOST_SOURCES, Metrics
from cascade.ops._exporting.otlp import Exporting
from cascade.ops._exporting.server import served
from cascade.ops._exporting.totals import MOST_NAMES, OTHER
from cascade.ops._exporting.traces import MOST_RUNS, Traces
