"""The messages on ``cascade/state/{source}/...`` and ``cascade/ack/{source}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cascade.interfaces.topics import parse_ack_topic, parse_state_topic
from cascade.interfaces.wire.read import _fields as fields
from cascade.interfaces.wire.read._messages import (
    MAX_NAME,
    Cleared,
    ConstraintsReport,
    read_constraints_report,
)
from cascade.interfaces.wire.read._runs_report import RunsReport, read_runs_report
from cascade.interfaces.wire.read._state import (
    Ack,
    GraphReport,
    HostReport,
    Summary,
    read_ack,
    read_graph_report,
    read_host_report,
    read_summary,
)

MAX_REPORT_BYTES = 128 * 1024
"""A longer report is not read: engines send at most 64 KiB."""

Report = ConstraintsReport | RunsReport | GraphReport | Summary | HostReport

_READERS: dict[str, Callable[[str, Mapping[str, Any]], Report]] = {
    "constraints": read_constraints_report,
    "runs": read_runs_report,
    "graph": read_graph_report,
    "summary": read_summary,
    "host": read_host_report,
}


def parse_report(topic: str, payload: bytes | bytearray) -> Report | Cleared | None:
    """Return a report on ``cascade/state/{source}/...``, or None if it is not one.

    A report that names another source than its topic is not understood.
    """
    found = parse_state_topic(topic) if len(topic) <= MAX_NAME else None
    read = _READERS.get(found[1]) if found is not None and found[0] else None
    if found is None or read is None or len(payload) > MAX_REPORT_BYTES:
        return None
    source = found[0]
    data = fields.json_object(payload)
    if data is None or not fields.is_version_1(data):
        return None
    if not data:
        return Cleared(topic)
    return read(source, data) if data.get("source", source) == source else None


def parse_ack(topic: str, payload: bytes | bytearray) -> Ack | Cleared | None:
    """Return what a collector has stored, from ``cascade/ack/{source}``; None for anything else."""
    source = parse_ack_topic(topic) if len(topic) <= MAX_NAME else None
    data = fields.json_object(payload) if source and len(payload) <= MAX_REPORT_BYTES else None
    if not source or data is None or not fields.is_version_1(data):
        return None
    return read_ack(source, data) if data else Cleared(topic)
