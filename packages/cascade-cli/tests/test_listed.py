"""What a person reads of ``ps``, ``runs``, ``constraints``, ``prune`` and ``ha``: with a broker within the test."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from memory_broker import MemoryBroker, Person

from cascade.cli import _returned, _snapshot
from cascade.cli._home_assistant.device import device_topic
from cascade.interfaces.topics import canary_topic, constraint_topic, state_topic, status_topic

NOW = 1_800_000_000.0
PAUSE, LIMIT = constraint_topic("global", "pause"), constraint_topic("task:audit", "rate_limit")


def stamp(ago: float) -> str:
    """A time that has passed."""
    return datetime.fromtimestamp(NOW - ago, UTC).isoformat()


def report(source: str, **content: Any) -> dict[str, Any]:
    return {"v": "1.0", "source": source, "session": source, "presence": source, **content}


def plant() -> dict[str, object]:
    """An engine that runs, one that is lost, one without a birth; a pause, and a limit that has expired."""
    row = {"run_id": "r1", "target": "audit", "started": stamp(90), "counts": {"RUNNING": 2, "BLOCKED": 3}}
    over = {"run_id": "r0", "target": "old", "status": "Failed", "error": "E: x", "counts": {"FAILED": 1}}
    pause = {"scope": "global", "type": "pause", "params": {}, "topic": PAUSE, "id": "p"}
    obeys = {PAUSE: {"id": "p", "status": "applied"}}
    refuses = {PAUSE: {"id": "p", "status": "unsupported", "reason": "too old"}}
    birth = {"status": "online", "session": "oven", "ts": stamp(300), "host": "pi", "pid": 7}
    return {
        status_topic("oven"): birth,
        state_topic("oven", "runs"): report("oven", runs=[row], recent=[over], project_id="hall"),
        state_topic("oven", "constraints"): report("oven", sync="synced", applied=obeys, effective=[pause]),
        status_topic("press"): {**birth, "session": "press", "ts": stamp(60), "host": "pc", "pid": 8},
        state_topic("press", "constraints"): report("press", sync="stale", applied=refuses, effective=[]),
        status_topic("dead"): {"status": "offline", "session": "dead"},
        state_topic("dead", "runs"): report("dead", runs=[{**row, "run_id": "r2"}], recent=[]),
        canary_topic("dead"): {"canary": "x"},
        PAUSE: {"type": "pause", "id": "p", "by": "olaf", "params": {}, "expires_at": NOW + 650},
        LIMIT: {"type": "rate_limit", "id": "l", "params": {"rate": "10/m"}, "expires_at": NOW - 1},
        constraint_topic("run:r1", "cancel"): {"type": "cancel", "id": "c", "params": {}},
    }


@pytest.fixture
def broker() -> MemoryBroker:
    """A broker that retains what these engines have left."""
    return MemoryBroker(plant())


@pytest.fixture
def person(broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> Person:
    """A person at a terminal, at a fixed time."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    return Person(broker, monkeypatch)


def cells(lines: list[str]) -> list[list[str]]:
    """The cells of a table: at least two blanks stand between two of them."""
    return [re.split(r"\s{2,}", line.strip()) for line in lines if line.strip(" ─")]


def test_ps_shows_each_engine_in_a_row(person: Person) -> None:
    """Of a lost one nothing is said that only a live one can say; it is said where a report has no birth."""
    person.broker.retained[state_topic("odd", "constraints")] = json.dumps(
        report("odd", sync="idle")
    ).encode()
    code, lines, err = person.types("ps")
    assert code == 0
    assert cells(lines) == [
        ["source", "status", "for", "runs", "paused", "sync", "project", "host", "pid"],
        ["dead", "lost", "0", "no"],
        ["odd", "lost", "0", "no", "idle"],
        ["oven", "online", "5m", "1", "yes", "synced", "hall", "pi", "7"],
        ["press", "online", "60s", "0", "no", "stale", "pc", "8"],
    ]
    what = "has no birth on the broker: any client may have written its report"
    assert err == f"the session of odd {what}\n"


def test_runs_shows_each_run_in_a_row(person: Person) -> None:
    """When it began, its tasks by state, and its error."""
    assert cells(person.types("runs")[1]) == [
        ["run", "source", "target", "status", "began", "tasks", "error"],
        ["r2", "dead", "audit", "Lost", "90s ago", "2 running 3 blocked"],
        ["r1", "oven", "audit", "Running", "90s ago", "2 running 3 blocked"],
        ["r0", "oven", "old", "Failed", "1 failed", "E: x"],
    ]


def test_constraints_shows_each_register_in_a_row(person: Person) -> None:
    """Its author and expiry, who obeys it, and who refuses it and why."""
    assert cells(person.types("constraints")[1]) == [
        ["scope", "type", "params", "id", "claimed by", "expires", "obeyed by", "refused by"],
        ["global", "pause", "p", "olaf", "in 10m", "oven", "press (too old)"],
        ["run:r1", "cancel", "c", "never"],
        ["task:audit", "rate_limit", "rate=10/m", "l", "expired"],
    ]


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("ps", "no engines; one without a name reports every 10 s while it runs: cascade ps --listen 12s"),
        ("runs", "no runs; an engine without a name reports every 10 s: cascade runs --listen 12s waits"),
        ("constraints", "no constraints"),
        ("prune", "nothing is left over"),
    ],
)
def test_an_empty_broker_is_a_sentence(command: str, line: str, person: Person) -> None:
    """The command prints no empty table, and does not ask whether to clear nothing."""
    person.broker.retained.clear()
    code, lines, err = person.types(command)
    assert (code, len(lines), err) == (0, 1, "")
    assert lines[0].startswith(line)
    assert person.broker.written == []


LEFT = {
    LIMIT: "the constraint expired 1s ago",
    canary_topic("dead"): "the engine is lost",
    state_topic("dead", "runs"): "the engine is lost",
    status_topic("dead"): "the engine is lost",
    device_topic("gone"): "the broker knows no engine of this device",
    "cascade/sync/oven/doctor-1a-0": "cascade doctor was killed before it cleared this",
}


@pytest.fixture
def littered(broker: MemoryBroker) -> MemoryBroker:
    """The broker, with a device of no engine and what a killed doctor has left."""
    for topic in (device_topic("oven"), device_topic("gone"), "cascade/sync/oven/doctor-1a-0"):
        broker.retained[topic] = b'{"number": 1}'
    return broker


@pytest.mark.parametrize(
    ("options", "answer", "clears"), [((), "n", False), ((), "y", True), (("--yes",), "", True)]
)
def test_prune_shows_what_it_clears_and_asks(
    options: tuple[str, ...], answer: str, clears: bool, littered: MemoryBroker, person: Person
) -> None:
    """After a no the broker still holds everything; with --yes the command does not ask."""
    before = dict(littered.retained)
    code, lines, err = person.types("prune", *options, answer=f"{answer}\n")
    assert code == 0
    assert dict(cells(lines)[1:]) == LEFT
    assert ("Clear these 6 retained messages? [y/N]" in err) == (not options)
    assert sorted(littered.written) == ([(topic, None) for topic in sorted(LEFT)] if clears else [])
    assert littered.retained.keys() == before.keys() - (LEFT.keys() if clears else ())


@pytest.mark.parametrize(
    ("denied", "cause"),
    [
        ({status_topic("dead")}, "cascade/status/dead; this user needs the rule: topic readwrite cascade/#"),
        (
            {status_topic("dead"), device_topic("gone")},
            "cascade/status/dead and 1 more; this user needs the rule: topic readwrite cascade/#, and topic readwrite homeassistant/device/#",
        ),
    ],
)
def test_prune_names_what_the_broker_has_not_cleared(
    denied: set[str], cause: str, littered: MemoryBroker, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the rule that is missing, of Home Assistant's topics only where one of them is to be cleared."""
    monkeypatch.setattr(_returned, "ACKNOWLEDGE_SECONDS", 0.05)
    littered.read_only = denied
    if device_topic("gone") not in denied:
        del littered.retained[device_topic("gone")]
    code, _, err = person.types("prune", "--yes")
    assert (code, err) == (3, f"cascade: the broker has not cleared {cause}\n")


def test_prune_without_an_acknowledgement_fails(person: Person) -> None:
    """It does not wait for what cannot come."""
    person.broker.acknowledges = False
    code, _, err = person.types("prune", "--yes")
    assert (code, err) == (3, "cascade: the broker does not acknowledge; run the command again\n")


@pytest.mark.parametrize(("complete", "too_many"), [(False, False), (True, True)])
def test_prune_clears_nothing_where_it_cannot_see_everything(
    complete: bool, too_many: bool, littered: MemoryBroker, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A presence that has not arrived would make a live engine a dead one."""
    monkeypatch.setattr(_snapshot, "ECHO_SECONDS", 0.05)
    littered.complete, littered.too_many = complete, too_many
    code, lines, err = person.types("prune", "--yes")
    problem = "the broker does not show whether all its retained messages have arrived"
    assert (code, lines, err) == (
        3,
        [],
        f"cascade: {problem}; this user needs the rule: topic readwrite cascade/#\n",
    )
    assert littered.written == []


@pytest.mark.parametrize(
    ("denied", "kept"),
    [
        ("homeassistant/device/+/config", device_topic("gone")),
        ("cascade/sync/+/+", "cascade/sync/oven/doctor-1a-0"),
    ],
)
def test_prune_leaves_out_what_this_user_may_not_read(
    denied: str, kept: str, littered: MemoryBroker, person: Person
) -> None:
    """Topics of Home Assistant and of the doctor are often denied; the rest is cleared."""
    littered.cut = {denied}
    code, lines, _ = person.types("prune", "--yes")
    assert (code, {line[0] for line in cells(lines)[1:]}) == (0, LEFT.keys() - {kept})
    assert kept in littered.retained


def test_a_broker_that_cuts_the_link_is_named_with_the_rules(person: Person) -> None:
    """Of every list."""
    person.broker.cut = {"cascade/status/+"}
    for command in ("ps", "runs", "constraints"):
        code, lines, err = person.types(command)
        assert (code, lines) == (3, [])
        assert err.startswith("cascade: the broker does not deliver its messages: cut; this user may need")


def test_home_assistant_gets_a_device_for_each_engine_until_it_is_removed(person: Person) -> None:
    """The latest run that has ended makes no event; --remove clears the messages of these engines only."""
    code, lines, err = person.types("ha", "oven", "hall 2")
    rows = [["oven", device_topic("oven")], ["hall 2", device_topic("hall 2")]]
    assert (code, cells(lines)) == (0, [["source", "topic"], *rows])
    assert err.endswith("cascade ha --remove undoes this\n")
    found = dict(person.broker.written)
    assert [*found] == [topic for _, topic in rows]
    assert [device["device"]["name"] for device in found.values()] == ["oven", "hall 2"]
    assert ["r0" in json.dumps(device) for device in found.values()] == [True, False]
    person.broker.written.clear()
    code, lines, err = person.types("ha", "oven", "--remove")
    assert (code, cells(lines)[1:], err) == (0, rows[:1], "")
    assert person.broker.written == [(device_topic("oven"), None)]
    assert device_topic("hall 2") in person.broker.retained


@pytest.mark.parametrize(("options", "done"), [((), "returned"), (("--remove",), "cleared")])
def test_home_assistants_topics_need_a_rule(
    options: tuple[str, ...], done: str, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker drops what it does not permit."""
    monkeypatch.setattr(_returned, "ACKNOWLEDGE_SECONDS", 0.05)
    person.broker.read_only = {device_topic("oven")}
    code, lines, err = person.types("ha", "oven", "press", *options)
    assert (code, lines) == (3, [])
    cause = f"the broker has not {done} {device_topic('oven')}"
    assert err == f"cascade: {cause}; this user needs the rule: topic readwrite homeassistant/device/#\n"


def test_home_assistant_speaks_mqtt_only(person: Person) -> None:
    """A wrong URL is a wrong command line; nothing is published."""
    code, _, err = person.types("ha", "oven", "--broker", "nats://broker.example")
    assert (code, err) == (2, "cascade: Home Assistant needs an MQTT broker; write mqtt://host:1883\n")
    assert person.types("ha", "oven", "--broker", "wss://broker.example")[0] == 0
