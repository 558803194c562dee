"""The subscriber program: what it counts, what it shows, and what it does with malformed messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watcher import Broker, Watcher, broker_of

from cascade.interfaces.topics import telemetry_topic

TOPIC = telemetry_topic("local", "default", "r")


def message(seq: int, state: str = "RUNNING", *, run_id: str = "r", **body: Any) -> bytes:
    content = {"type": "TaskStateEvent", "task_name": "audit", "state": state, "duration_ms": 0.0} | body
    event = {"run_id": run_id, "event_id": f"{run_id}-{seq}", "seq": seq, "body": content}
    return json.dumps(event).encode()


def test_ordinary_events_are_shown_once_a_second_with_how_many_were_not() -> None:
    """Thousands of events become a few lines, and the number of the others is shown."""
    watcher = Watcher(every=1.0)
    lines = [watcher.see(TOPIC, message(seq), now=seq / 4) for seq in range(9)]
    shown = [(seq, line) for seq, line in enumerate(lines) if line is not None]
    assert shown == [
        (0, "#0      audit RUNNING"),
        (4, "#4      audit RUNNING  (+3 not shown)"),
        (8, "#8      audit RUNNING  (+3 not shown)"),
    ]


def test_important_events_are_always_shown() -> None:
    """A failure, a retry, the start and the end of a run do not wait for their second."""
    watcher = Watcher(every=1.0)
    assert watcher.see(TOPIC, message(0), now=0.0) is not None
    failed = watcher.see(TOPIC, message(1, "FAILED", duration_ms=2.06, error="ValueError: no"), now=0.0)
    assert failed == "#1      audit FAILED 2.1 ms ValueError: no"
    stopped = message(2, "", type="LifecycleEvent", event="ENGINE_STOPPED", status="Failed")
    assert watcher.see(TOPIC, stopped, now=0.0) == "#2      ENGINE_STOPPED Failed run r"


def test_a_line_cannot_reach_beyond_itself() -> None:
    """Escape sequences, line ends and reversed text in an event are shown by their numbers."""
    line = Watcher().see(TOPIC, message(0, task_name="a\x1b[2J\nb\u202e", error="x" * 10_000), now=0.0)
    assert line is not None
    assert line.isprintable()
    assert r"a\u001b[2J\u000ab\u202e" in line
    assert len(line) < 300


def test_counts_tell_duplicates_and_holes_of_each_run() -> None:
    """A second copy is a duplicate, a number that never came is a hole, and runs do not mix."""
    watcher = Watcher()
    for seq in (0, 1, 1, 4, 2):
        watcher.see(TOPIC, message(seq), now=0.0)
    watcher.see(telemetry_topic("local", "default", "other"), message(0, run_id="other"), now=0.0)
    watcher.see(TOPIC, b"not json", now=0.0)
    assert watcher.counts() == {
        "runs": {
            "r": {"received": 5, "duplicates": 1, "holes": 1},
            "other": {"received": 1, "duplicates": 0, "holes": 0},
        },
        "not_understood": 1,
    }


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"run_id": 1, "event_id": "e", "seq": 0, "body": {}}',
        b'{"run_id": "r", "event_id": "e", "seq": "0", "body": {}}',
        b'{"run_id": "r", "event_id": "e", "seq": 0, "body": []}',
        b"[" * 100_000,
        b'{"seq": ' + b"9" * 5_000 + b"}",
    ],
)
def test_what_is_not_an_event_is_counted_and_not_shown(payload: bytes) -> None:
    """Any client may publish anything on a shared broker."""
    watcher = Watcher()
    assert watcher.see(TOPIC, payload, now=0.0) is None
    assert watcher.counts() == {"runs": {}, "not_understood": 1}


TEXT = st.text("a[\x1b\n\u202e\u2603", max_size=5)  # of its own alphabet: quick to begin
JSON = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.lists(TEXT)


@given(
    st.dictionaries(st.sampled_from(["type", "state", "task_name", "duration_ms", "error", "event"]), JSON)
)
def test_any_body_is_shown_on_one_line(body: dict[str, Any]) -> None:
    """Whatever stands in a body, the line is printable and the count goes up."""
    watcher = Watcher(every=0.0)
    event = {"run_id": "r", "event_id": "e", "seq": 0, "body": body}
    line = watcher.see(TOPIC, json.dumps(event).encode(), now=0.0)
    assert line is not None
    assert line.isprintable()
    assert watcher.counts()["runs"]["r"]["received"] == 1


def test_a_broker_is_named_by_its_url() -> None:
    """Ports have defaults, names and passwords may be percent-encoded and are not shown."""
    assert broker_of("mqtt://host") == Broker("host", 1883, tls=False, user="", password="")
    secure = broker_of("mqtts://me:p%40ss@[::1]:18883")
    assert secure == Broker("::1", 18883, tls=True, user="me", password="p@ss")
    assert "p@ss" not in repr(secure)


def test_a_password_may_stand_in_the_environment_or_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As for the engine: used with a user name that has no password; a password in the URL has priority."""
    file = tmp_path / "password"
    file.write_text("from the file\n")
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD_FILE", str(file))
    assert broker_of("mqtt://me@host").password == "from the file"
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", "p@ss")
    assert broker_of("mqtt://me@host").password == "p@ss"
    assert broker_of("mqtt://me:own@host").password == "own"
    assert broker_of("mqtt://host").password == ""


@pytest.mark.parametrize(
    "url", ["", "localhost:1883", "http://host", "mqtt://", "mqtt://host:port", "mqtt://host:99999"]
)
def test_what_is_no_url_of_a_broker_is_refused(url: str) -> None:
    """The mistakes that people make with URLs end before anything is started."""
    with pytest.raises(ValueError, match=r"."):
        broker_of(url)
