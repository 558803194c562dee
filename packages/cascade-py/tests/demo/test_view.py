"""What the second process of the steered demo understands of an engine, and what it makes of rubbish."""

from __future__ import annotations

import json
from typing import Any

import pytest
from view import Teller, Topics, View

TOPICS = Topics("line")
PAUSE = TOPICS.register("pause")


def test_a_source_of_any_name_has_topics_that_any_broker_takes() -> None:
    """Each level that is built from it is percent-encoded."""
    topics = Topics("line 3/press+")
    level = "line%203%2Fpress%2B"
    assert topics.register("pause") == f"cascade/constraints/source/{level}/@pause"
    assert topics.left_behind == (
        f"cascade/status/{level}",
        f"cascade/state/{level}/constraints",
        f"cascade/state/{level}/runs",
    )


def event(second: int, *, source: str = "line", **body: Any) -> bytes:
    return json.dumps({"source": source, "ts": f"2026-11-21T03:00:{second:02}+00:00", "body": body}).encode()


def report(second: int = 0, *, running: int = 0, **status: str) -> bytes:
    applied = {TOPICS.register(kind): {"id": "", "status": each} for kind, each in status.items()}
    effective = [{"scope": "source:line", "type": kind, "params": {}} for kind in status]
    body = {"sync": "synced", "applied": applied, "effective": effective, "in_scope_running": running}
    return json.dumps(body | {"ts": f"2026-11-21T03:00:{second:02}+00:00"}).encode()


def test_starts_in_a_window_are_those_of_this_engine() -> None:
    """Counted by the engine's own clock, whenever they arrive; other engines and states do not count."""
    view = View(TOPICS)
    view.report(report(10, pause="applied"))
    view.report(report(12, pause="applied"))
    since = view.applied_since(PAUSE)
    assert since is not None
    for second in (9, 11, 14):
        view.event(event(second, state="RUNNING"))
    view.event(event(11, state="COMPLETED"))
    view.event(event(11, state="RUNNING", source="other"))
    assert view.starts_between(since, since + 3) == 1
    assert len(view.started) == 3


def test_a_pause_is_applied_from_its_first_report_to_the_first_without_it() -> None:
    """What is rejected is not applied; a second pause begins anew."""
    view = View(TOPICS)
    assert view.applied_since(PAUSE) is None
    view.report(report(1, pause="rejected"))
    assert view.applied_since(PAUSE) is None
    view.report(report(2, pause="applied"))
    first = view.applied_since(PAUSE)
    view.report(report(3))
    assert view.applied_since(PAUSE) is None
    view.report(report(4, pause="applied"))
    assert first is not None
    assert view.applied_since(PAUSE) == first + 2


def test_news_are_told_at_once_and_counts_once_a_second() -> None:
    """A report that differs only in its counts waits for its second."""
    teller = Teller(TOPICS, every=1.0)
    lines = [
        teller.line(TOPICS.constraints, each, now)
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
        b'{"source": "line", "ts": "never", "body": {"state": "RUNNING"}}',
    ],
)
def test_whatever_arrives_is_told_on_one_line_or_passed_over(payload: bytes) -> None:
    """Anybody may publish anything on a shared broker."""
    view, teller = View(TOPICS), Teller(TOPICS)
    view.event(payload)
    view.report(payload)
    assert view.applied_since(PAUSE) is None
    for topic in (TOPICS.constraints, TOPICS.runs):
        line = teller.line(topic, payload, 0.0)
        assert line is None or line.isprintable()
