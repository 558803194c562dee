"""What a person reads of ``ps``, ``runs`` and ``constraints``: with a broker within the test."""

from __future__ import annotations

import json
import time

import pytest

from cascade.interfaces.topics import state_topic, status_topic
from testing_tools.memory_broker import MemoryBroker, Person
from testing_tools.retained_reports import NOW, PAUSE, cells, plant, report, stamp


@pytest.fixture
def broker() -> MemoryBroker:
    """A broker that retains what these engines have left."""
    return MemoryBroker(plant())


@pytest.fixture
def person(broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> Person:
    """A person at a terminal, at a fixed time."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    return Person(broker, monkeypatch)


OFFER = {"name": "audit", "doc": "", "params": {}, "overlap": "skip", "accepting": True}


def test_ps_shows_each_engine_in_a_row(person: Person) -> None:
    """Of a lost one nothing is said that only a live one can say, such as what it starts; it is said where a report has no birth."""
    person.broker.retained[state_topic("odd", "constraints")] = json.dumps(
        report("odd", sync="idle")
    ).encode()
    for source in ("dead", "oven"):
        offers = [OFFER, {**OFFER, "name": "wash", "accepting": False}, {**OFFER, "name": "calibrate"}]
        person.broker.retained[state_topic(source, "workflows")] = json.dumps(
            report(source, workflows=offers)
        ).encode()
    code, lines, err = person.types("ps")
    assert code == 0
    assert cells(lines) == [
        ["engine", "status", "for", "runs", "paused", "sync", "project", "host", "pid", "workflows"],
        ["dead", "lost", "0", "no"],
        ["odd", "unknown", "0", "no", "idle"],
        ["oven", "online", "5m", "1", "yes", "synced", "hall", "pi", "7", "audit, calibrate"],
        ["press", "online", "60s", "0", "no", "stale", "pc", "8"],
    ]
    what = "has no birth on the broker: any client may have written its report"
    unseen = "not known whether odd still runs: the broker has reports of it, and no birth; --listen 13s waits for a new report"
    assert err == f"the session of odd {what}\n{unseen}\n"


def test_ps_says_when_a_lost_engine_has_reported_last(person: Person) -> None:
    """The broker does not say when the link broke; of an engine that is online the age of its link is enough."""
    for source, ago in (("dead", 7_200), ("oven", 60)):
        left = json.loads(person.broker.retained[state_topic(source, "runs")])
        person.broker.take(state_topic(source, "runs"), {**left, "ts": stamp(ago)})
    title, dead, oven, _ = cells(person.types("ps")[1])
    assert title[:4] == ["engine", "status", "for", "last report"]
    assert (dead[:3], oven[:4]) == (["dead", "lost", "2h ago"], ["oven", "online", "5m", "1"])
    (row,) = [row for row in json.loads(person.types("ps", "--json")[1][0]) if row["source"] == "dead"]
    assert row["reported"] == "2027-01-15T06:00:00.000000+00:00"


@pytest.mark.parametrize("command", ["ps", "runs"])
def test_a_clock_that_is_ahead_is_named_and_no_age_is_0(command: str, person: Person) -> None:
    """A time in the future has no age, and the note says what to do."""
    birth = json.loads(person.broker.retained[status_topic("oven")])
    left = json.loads(person.broker.retained[state_topic("oven", "runs")])
    left["runs"][0]["started"] = stamp(-300)
    person.broker.take(status_topic("oven"), {**birth, "ts": stamp(-300)})
    person.broker.take(state_topic("oven", "runs"), {**left, "ts": stamp(-600)})
    _, lines, err = person.types(command)
    assert not [cell for row in cells(lines) for cell in row if cell in ("0s", "0s ago")]
    assert err == (
        "the clock of oven is at least 10m ahead of this machine's, so ages there are wrong; "
        "set the clocks of both machines by NTP\n"
    )


def test_runs_shows_each_run_in_a_row(person: Person) -> None:
    """When it began, its tasks by state, of how many, who pauses or has ended it, and its error."""
    assert cells(person.types("runs")[1]) == [
        ["run", "engine", "target", "status", "began", "tasks", "of", "by", "error"],
        ["r2", "dead", "audit", "Lost", "90s ago", "2 running, 3 waiting", "5"],
        ["r1", "oven", "audit", "Paused", "90s ago", "2 running, 3 waiting", "5", "olaf"],
        ["r0", "oven", "old", "Failed", "1 failed", "1", "E: x"],
    ]


def test_constraints_shows_each_register_in_a_row(person: Person) -> None:
    """Its author and expiry, who obeys it, and who refuses it and why."""
    assert cells(person.types("constraints")[1]) == [
        ["scope", "type", "params", "id", "claimed by", "expires", "obeyed by", "refused by"],
        ["global", "pause", "p", "olaf", "in 10m", "oven", "press (too old)"],
        ["run:r1", "cancel", "c", "never"],
        ["task:audit", "rate_limit", "rate=10/m", "l", "expired"],
    ]


def test_constraints_names_an_engine_whose_clock_has_ended_one_early(person: Person) -> None:
    """By the clock of this machine it is in force, and nothing else would say why work goes on."""
    ahead = report("oven", sync="synced", applied={PAUSE: {"id": "p", "status": "expired"}}, effective=[])
    person.broker.take(state_topic("oven", "constraints"), ahead)
    note = "pause global: expired already by the clock of oven: set that clock, or write a longer --ttl\n"
    assert person.types("constraints")[2] == note
    # here it has expired, too
    person.broker.take(PAUSE, {"type": "pause", "id": "p", "params": {}, "expires_at": NOW - 1})
    assert person.types("constraints")[2] == ""


def test_workflows_says_which_tick_did_not_start_and_why(person: Person) -> None:
    """Beside when the next one starts; a workflow without a schedule has neither."""
    skipped = {"at": "2027-01-15T03:00:00+00:00", "code": "paused", "reason": "a pause was in force"}
    schedule = {"every": "10m", "text": "Every 10m", "next": "2027-01-15T09:00:00+00:00", "skipped": skipped}
    offers = [OFFER, {**OFFER, "name": "wash", "schedule": schedule}]
    person.broker.take(state_topic("oven", "workflows"), report("oven", workflows=offers))
    title, *rows = cells(person.types("workflows", width=200)[1])
    assert title == ["workflow", "engine", "schedule", "next start", "overlap", "accepting", "not started"]
    assert rows == [
        ["audit", "oven", "skip", "yes"],
        [
            "wash",
            "oven",
            "Every 10m",
            schedule["next"],
            "skip",
            "yes",
            f"{skipped['at']}: {skipped['reason']}",
        ],
    ]


def test_workflows_names_the_status_of_an_engine_that_starts_nothing(person: Person) -> None:
    """A schedule of a lost engine looks as if it went on."""
    for source in ("dead", "oven"):
        person.broker.take(state_topic(source, "workflows"), report(source, workflows=[OFFER]))
    title, dead, oven = cells(person.types("workflows")[1])
    assert title == ["workflow", "engine", "overlap", "accepting", "engine is"]
    assert (dead[3:], oven[3:]) == (["no", "lost"], ["yes"])


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("ps", "no engines; one without a name reports every 10 s while it runs: cascade ps --listen 12s"),
        ("runs", "no runs; an engine without a name reports every 10 s: cascade runs --listen 12s waits"),
        ("constraints", "no constraints"),
    ],
)
def test_an_empty_broker_is_a_sentence(command: str, line: str, person: Person) -> None:
    """The command prints no empty table, and does not ask whether to clear nothing."""
    person.broker.retained.clear()
    code, lines, err = person.types(command)
    assert (code, len(lines), err) == (0, 1, "")
    assert lines[0].startswith(line)
    assert person.broker.written == []


def test_a_broker_that_cuts_the_link_is_named_with_the_rules(person: Person) -> None:
    """Of every list."""
    person.broker.cut = {"cascade/status/+"}
    for command in ("ps", "runs", "constraints"):
        code, lines, err = person.types(command)
        assert (code, lines) == (3, [])
        assert err.startswith("cascade: the broker does not deliver its messages: cut; this user may need")
