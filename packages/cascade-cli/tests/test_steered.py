"""The steering commands as a person and a program see them: with a broker within the test, and no engine."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from cli_modules import publishing

from cascade.cli.output import Output
from cascade.interfaces.control_messages import TYPES
from cascade.interfaces.topics import STORE_TOPIC, constraint_topic, status_topic
from testing_tools.memory_broker import MemoryBroker, Person
from testing_tools.retained_reports import report

NOW = 1_800_000_000.0
SHORT, PAUSE = constraint_topic("source:oven"), constraint_topic("source:oven", "pause")


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    """A person at a terminal, at a fixed time; an engine named oven was there once."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    return Person(MemoryBroker({status_topic("oven"): {"status": "offline", "session": "s"}}), monkeypatch)


@pytest.mark.parametrize(
    ("command", "topic", "content"),
    [
        ("pause oven", PAUSE, {"type": "pause", "params": {}, "id": "pause-source:oven", "expires_at": None}),
        ("pause oven --ttl 90s", PAUSE, {"expires_at": NOW + 90}),
        ("pause oven --id x --by olaf", PAUSE, {"id": "x", "by": "olaf", "scope": "source:oven"}),
        ("limit global --concurrency 0", constraint_topic("global", "concurrency"), {"params": {"limit": 0}}),
        ("limit global --rate 5", constraint_topic("global", "rate_limit"), {"params": {"rate": 5.0}}),
        (
            "limit global --rate 5/m --capacity 2 --ttl 1h",
            constraint_topic("global", "rate_limit"),
            {"params": {"rate": "5/m", "capacity": 2}, "expires_at": NOW + 3_600},
        ),
        ("cancel oven", constraint_topic("source:oven", "cancel"), {"params": {}, "expires_at": NOW + 60}),
        ("cancel run:7 --ttl 5s", constraint_topic("run:7", "cancel"), {"expires_at": NOW + 5}),
    ],
)
def test_a_command_writes_one_register_and_prints_its_topic(
    command: str, topic: str, content: dict[str, Any], person: Person
) -> None:
    """And the identity of the store, which this broker does not have yet, before it."""
    assert person.types(*command.split()) == (0, [topic], "")
    (store, _), (written, message) = person.broker.written
    assert (store, written) == (STORE_TOPIC, topic)
    assert message.items() >= content.items()
    assert ("by" in message) == ("--by" in command)
    person.broker.written.clear()
    code, lines, _ = person.types(*command.split(), "--json")
    assert (code, [json.loads(line) for line in lines]) == (0, [{"topic": topic}])
    assert [sent for sent, _ in person.broker.written] == [topic]


@pytest.mark.parametrize(
    ("command", "cleared"),
    [
        ("resume oven", [PAUSE, SHORT]),
        ("resume oven --id mine", [SHORT]),
        ("resume oven --id other", []),
        ("clear oven --id mine", [SHORT]),
        ("clear oven cancel", [constraint_topic("source:oven", "cancel")]),
        ("clear oven pause --id mine", [SHORT]),
        ("clear global --id mine", []),
    ],
)
def test_a_clear_prints_each_topic_that_it_has_cleared(
    command: str, cleared: list[str], person: Person
) -> None:
    """The command keeps other registers; where it finds none it says so and ends with 0."""
    held = {
        SHORT: ("pause", "mine"),
        PAUSE: ("pause", "a"),
        constraint_topic("source:oven", "cancel"): ("cancel", "b"),
    }
    for topic, (kind, name) in held.items():
        person.broker.take(topic, {"type": kind, "id": name, "params": {}})
    code, lines, err = person.types(*command.split())
    assert (code, lines, person.broker.written) == (0, cleared, [(topic, None) for topic in cleared])
    what = "such pause on source:oven" if "oven" in command else "such constraint on global"
    note = f"the broker holds no {what}; cascade constraints lists what is in force\n"
    assert err == ("" if cleared else note)
    assert {*held} - {*person.broker.retained} == {*cleared}


def test_a_pause_that_the_broker_has_lost_is_not_said_to_hold_nothing(person: Person) -> None:
    """The engine obeyed it until now, as its report shows."""
    topic = constraint_topic("global", "pause")
    pause = {"scope": "global", "type": "pause", "params": {}, "topic": topic, "id": "p"}
    kept = report("oven", sync="stale", applied={}, effective=[pause])
    person.broker.take("cascade/state/oven/constraints", kept)
    _, lines, err = person.types("resume", "--wait", "--timeout", "0.1s")
    assert lines[0] == topic
    assert err.splitlines()[0] == "the broker had lost this pause; oven still obeyed it"


@pytest.mark.parametrize(
    ("scope", "note"),
    [
        ("task:audti", "no run has a task audti now, and a later one obeys; did you mean task:audit?"),
        ("task:aud*", ""),
        (
            "run:9a81f00b",
            "no run 9a81f00b is active now, and a later one obeys; did you mean run:9a81f00bc4d2?",
        ),
        ("run:monday", "no run monday is active now, and a later one obeys; did you mean run:shift~monday?"),
        ("run:shift~monday", ""),
        (
            "workflow:shfit",
            "no service offers shfit: only a cascade run FILE.py:shfit obeys; did you mean workflow:shift?",
        ),
        ("workflow:shift", ""),
    ],
)
def test_a_note_names_what_may_be_meant_by_a_name_that_nothing_has(
    scope: str, note: str, person: Person
) -> None:
    """The constraint is written: a run, a task or a workflow of this name may come. To lift it needs no note."""
    runs = [{"run_id": each, "tasks": {"audit": {"known": 1}}} for each in ("9a81f00bc4d2", "shift~monday")]
    person.broker.take("cascade/state/oven/runs", report("oven", runs=runs, recent=[]))
    offered = {"name": "shift", "doc": "", "params": {}, "overlap": "skip", "accepting": True}
    person.broker.take("cascade/state/oven/workflows", report("oven", workflows=[offered]))
    assert person.types("pause", scope)[2] == (f"{note}\n" if note else "")
    assert person.broker.written
    assert person.types("clear", scope)[2] == ""


def test_a_clear_of_a_scope_clears_the_topic_of_every_type(person: Person) -> None:
    """Also of those that the broker has not shown: it may send nothing for a wildcard. It prints what held something."""
    person.broker.take(PAUSE, {"type": "pause", "id": "a", "params": {}})
    everything = {SHORT, *(constraint_topic("source:oven", kind) for kind in TYPES)}
    assert person.types("clear", "oven") == (0, [PAUSE], "")
    assert {topic for topic, _ in person.broker.written} == everything
    assert {content for _, content in person.broker.written} == {None}
    hint = "cascade constraints lists what is in force\n"
    assert person.types("clear", "global") == (
        0,
        [],
        f"the broker holds no constraint on global; {hint}",
    )
    topic = constraint_topic("global", "pause")
    assert person.types("resume") == (0, [topic], f"the broker holds no pause on global; {hint}")
    for kind, meant in (("rat_limit", "rate_limit"), ("gate", "gate.NAME")):
        assert f"did you mean {meant}?" in person.types("clear", "oven", kind)[2]


@pytest.mark.parametrize("command", ["pause", "resume", "cancel", "clear", "limit --concurrency 1"])
@pytest.mark.parametrize(
    ("name", "meant"),
    [("ovne", "oven"), ("measure", "task:measure"), ("all", "global"), ("vm-14304", "source:vm-14304")],
)
def test_a_bare_name_that_no_engine_has_is_refused(
    command: str, name: str, meant: str, person: Person
) -> None:
    """Nothing is written for an engine that does not exist; an engine that has ended counts, and so does source:NAME."""
    verb, *options = command.split()
    refused = f"cascade: no engine {name}; did you mean {meant}?\n"
    assert person.types(verb, name, *options) == (2, [], refused)
    assert person.broker.written == []
    code, _, err = person.types(verb, f"source:{name}", *options)
    assert (code, person.broker.written != []) == (0, True)
    near = "; did you mean oven?" if meant == "oven" else ""
    assert f"no engine named {name} is known to the broker{near}\n" in err
    # a person can undo what stands there already
    person.broker.take(constraint_topic(f"source:{name}", "pause"), {"type": "pause"})
    assert (
        f"did you mean {'oven' if near else f'source:{name}'}?" in person.types(verb, name, *options)[2]
        or name == "all"
    )
    assert person.types(verb, "oven", *options)[0] == 0


def test_a_command_that_steers_names_the_broker_of_the_environment(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong port pauses another plant's engines; a person who has typed the address, and a program, need no such line."""
    errors: list[str] = []
    monkeypatch.setattr(Output, "note", lambda _, text: errors.append(text))
    for arguments in (["pause"], ["--broker", "mqtt://other"], ["--json"], ["limit", "oven", "--rate", "5"]):
        person.types(*(arguments if arguments[0][0] != "-" else ["pause", *arguments]))
    assert errors == ["broker mqtt://broker.example"] * 2


def test_waiting_without_a_live_engine_ends_at_once(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is 1, because no engine obeys."""
    monkeypatch.setattr(publishing, "UNNAMED_SECONDS", 0.01)
    code, lines, err = person.types("pause", "--wait")
    assert (code, lines) == (1, [constraint_topic("global", "pause")])
    assert (
        err
        == "no live engine is in the scope global; the constraint stays for the next; cascade ps lists the engines\n"
    )
    _, _, err = person.types("resume", "--wait")
    assert err == "no live engine is in the scope global; cascade ps lists the engines\n"
    code, lines, _ = person.types("pause", "--wait", "--json")
    found = json.loads("\n".join(lines))
    assert code == 1
    assert found == {
        "topic": constraint_topic("global", "pause"),
        "applied": [],
        "refused": [],
        "unknown": [],
        "no_match": [],
        "running": 0,
    }
    assert person.types("pause", "--drained")[0] == 2


def test_a_silent_engine_is_waited_for_until_the_time_out(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And named; a source of another name is not in the scope."""
    monkeypatch.setattr(publishing, "UNNAMED_SECONDS", 0.01)
    for source in ("oven", "press"):
        person.broker.take(status_topic(source), {"status": "online", "session": "s"})
    code, lines, err = person.types("pause", "oven", "--wait", "--timeout", "0.05s")
    assert (code, lines, err) == (1, [PAUSE, "unknown     1  oven (silent)"], "")
