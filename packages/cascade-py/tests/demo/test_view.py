"""What the second process of the steered demo understands of an engine, and what it does with malformed messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from view import Engine, ReportLines, Topics

from cascade.interfaces.topics import telemetry_topic
from cascade.interfaces.wire.read import ConstraintsReport, EventMessage, RunsReport, View

TOPICS = Topics("line")
PAUSE = TOPICS.register("pause")
EVENTS = telemetry_topic("local", "default", "r")


class Reader:
    """An engine in a view, and the lines for its reports."""

    def __init__(self) -> None:
        self.view = View()
        self.engine = Engine(TOPICS, self.view)
        self.lines = ReportLines(every=1.0)

    def take(self, topic: str, payload: bytes, now: float = 0.0) -> str | None:
        message = self.view.fold(topic, payload, now=now)
        if isinstance(message, EventMessage):
            self.engine.event(message)
        if isinstance(message, ConstraintsReport | RunsReport):
            return self.lines.line(message, now)
        return None


def test_a_source_of_any_name_has_topics_that_any_broker_takes() -> None:
    """Each level that is built from it is percent-encoded."""
    topics = Topics("line 3/press+")
    level = "line%203%2Fpress%2B"
    assert topics.register("pause") == f"cascade/constraints/source/{level}/@pause"
    assert topics.left_behind == (
        f"cascade/status/{level}",
        f"cascade/state/{level}/constraints",
        f"cascade/state/{level}/runs",
        f"cascade/state/{level}/graph",
        f"cascade/state/{level}/summary",
        f"cascade/state/{level}/host",
        f"cascade/sync/{level}/@canary",
    )


def event(second: int, *, source: str = "line", **body: Any) -> bytes:
    ts = f"2026-11-21T03:00:{second:02}+00:00"
    return json.dumps({"run_id": "r", "source": source, "ts": ts, "body": body}).encode()


def report(second: int = 0, *, running: int = 0, **status: str) -> bytes:
    applied = {TOPICS.register(kind): {"id": "", "status": each} for kind, each in status.items()}
    effective = [{"scope": "source:line", "type": kind, "params": {}} for kind in status]
    body = {"sync": "synced", "applied": applied, "effective": effective, "in_scope_running": running}
    return json.dumps(body | {"ts": f"2026-11-21T03:00:{second:02}+00:00"}).encode()


def test_starts_in_a_window_are_those_of_this_engine() -> None:
    """Counted by the engine's own clock, whenever they arrive; other engines and states do not count."""
    reader = Reader()
    engine = reader.engine
    reader.take(TOPICS.constraints, report(10, pause="applied"))
    reader.take(TOPICS.constraints, report(12, pause="applied"))
    since = engine.applied_since(PAUSE)
    assert since is not None
    for second in (9, 11, 14):
        reader.take(EVENTS, event(second, state="RUNNING"))
    reader.take(EVENTS, event(11, state="COMPLETED"))
    reader.take(EVENTS, event(11, state="RUNNING", source="other"))
    assert engine.starts_between(since, since + 3) == 1
    assert len(engine.started) == 3


def test_a_pause_is_applied_from_its_first_report_to_the_first_without_it() -> None:
    """What is rejected is not applied; a second pause begins anew."""
    reader = Reader()
    engine = reader.engine
    assert engine.applied_since(PAUSE) is None
    reader.take(TOPICS.constraints, report(1, pause="rejected"))
    assert engine.applied_since(PAUSE) is None
    reader.take(TOPICS.constraints, report(2, pause="applied"))
    first = engine.applied_since(PAUSE)
    reader.take(TOPICS.constraints, report(3))
    assert engine.applied_since(PAUSE) is None
    reader.take(TOPICS.constraints, report(4, pause="applied"))
    assert first is not None
    assert engine.applied_since(PAUSE) == first + 2


def test_news_are_shown_at_once_and_counts_once_a_second() -> None:
    """A report that differs only in its counts waits for its second."""
    reader = Reader()
    lines = [
        reader.take(TOPICS.constraints, each, now)
        for each, now in [
            (report(running=3), 0.0),
            (report(running=4), 0.5),
            (report(running=4, pause="applied"), 0.6),
            (report(running=0, pause="applied"), 1.7),
        ]
    ]
    assert lines == [
        "constraints: sync synced; none applied; effective: none; in_scope_running 3",
        None,
        "constraints: sync synced; @pause applied; effective: pause; in_scope_running 4",
        "constraints: sync synced; @pause applied; effective: pause; in_scope_running 0",
    ]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"applied": 1, "effective": {}, "runs": 3, "ts": []}',
        b'{"applied": {"t": 1, "\\u001b[2J": {"status": 4}}, "effective": [1, {"params": 2}], "ts": "never"}',
        b'{"runs": [1, {"counts": 2}, {"counts": {"A": null}}]}',
        b'{"run_id": "r", "source": "line", "ts": "never", "body": {"state": "RUNNING"}}',
    ],
)
def test_any_message_is_shown_on_one_line_or_ignored(payload: bytes) -> None:
    """Any client may publish anything on a shared broker."""
    reader = Reader()
    for topic in (EVENTS, TOPICS.constraints, TOPICS.runs):
        line = reader.take(topic, payload)
        assert line is None or line.isprintable()
    assert reader.engine.applied_since(PAUSE) is None
