"""What ``cascade ha`` publishes for an engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from cascade.interfaces.topics import state_topic
from testing_tools.memory_broker import MemoryBroker, Person


def _published(
    source: str, last_run: str, offers: Sequence[Any] = (), effective: Sequence[Any] = ()
) -> tuple[str, str]:
    row = {"run_id": last_run, "target": "t", "status": "Failed", "ended": "2026-01-01T00:00:00+00:00"}
    report = {"v": "1.0", "source": source, "runs": [], "recent": [row] if last_run else []}
    head = {"session": "e", "presence": "s", "ts": "2026-01-01T00:00:00+00:00"}
    offered = {**report, **head, "workflows": offers}
    obeyed = {
        **report,
        **head,
        "sync": "synced",
        "applied": {},
        "effective": effective,
        "in_scope_running": 0,
    }
    reports = {"runs": report, "workflows": offered, "constraints": obeyed}
    broker = MemoryBroker({state_topic(source, kind): body for kind, body in reports.items()})
    with pytest.MonkeyPatch.context() as patched:
        assert Person(broker, patched).types("ha", "--", source)[0] == 0
    ((topic, content),) = broker.written
    return topic, json.dumps(content)


def device(
    source: str, *, last_run: str = "", offers: Sequence[Any] = (), effective: Sequence[Any] = ()
) -> dict[str, Any]:
    """The discovery message of an engine whose latest run has ended, that offers these workflows and obeys these constraints."""
    content: dict[str, Any] = json.loads(_published(source, last_run, offers, effective)[1])
    return content


def device_topic(source: str) -> str:
    """Its topic."""
    return _published(source, "")[0]
