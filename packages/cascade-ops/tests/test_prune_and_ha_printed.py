"""What a person reads of ``prune`` and ``ha``: with a broker within the test."""

from __future__ import annotations

import json
import time

import pytest
from home import device, device_topic

from cascade.cli import snapshot
from cascade.interfaces.topics import canary_topic, state_topic, status_topic
from cascade.interfaces.watch import Message
from testing_tools.memory_broker import MemoryBroker, Person
from testing_tools.retained_reports import LIMIT, NOW, cells, plant


@pytest.fixture
def broker() -> MemoryBroker:
    """A broker that retains what these engines have left."""
    return MemoryBroker(plant())


@pytest.fixture
def person(broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> Person:
    """A person at a terminal, at a fixed time."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    return Person(broker, monkeypatch)


LEFT = {
    LIMIT: "the constraint expired 1s ago",
    canary_topic("dead"): "the engine is lost",
    state_topic("dead", "runs"): "the engine is lost",
    status_topic("dead"): "the engine is lost",
    device_topic("gone"): "the broker knows no engine of this device",
    "cascade/sync/oven/doctor-1a-0": "a command was killed before it cleared this",
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
    denied: set[str], cause: str, littered: MemoryBroker, person: Person, brief: None
) -> None:
    """With the rule that is missing, of Home Assistant's topics only where one of them is to be cleared."""
    littered.read_only = denied
    if device_topic("gone") not in denied:
        del littered.retained[device_topic("gone")]
    code, _, err = person.types("prune", "--yes")
    assert (code, err) == (3, f"cascade: the broker has not cleared {cause}\n")


def test_nothing_to_prune_is_a_sentence(person: Person) -> None:
    """The command does not ask whether to clear nothing."""
    person.broker.retained.clear()
    assert person.types("prune") == (0, ["nothing is left over"], "")
    assert person.broker.written == []


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
    monkeypatch.setattr(snapshot, "ECHO_SECONDS", 0.05)
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


def test_home_assistant_gets_a_device_for_each_engine_until_it_is_removed(person: Person) -> None:
    """The latest run that has ended makes no event; --remove clears the messages of these engines only."""
    refused = "cascade: no engine hall 2; cascade ps lists them; --force publishes it nevertheless\n"
    assert person.types("ha", "oven", "hall 2") == (2, [], refused)
    assert person.types("ha", "ovne")[2] == "cascade: no engine ovne; did you mean oven?\n"
    assert person.broker.written == []
    code, lines, err = person.types("ha", "oven", "hall 2", "--force")
    rows = [["oven", device_topic("oven")], ["hall 2", device_topic("hall 2")]]
    assert (code, cells(lines)) == (0, [["engine", "topic"], *rows])
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


@pytest.mark.parametrize(("options", "done"), [(("--force",), "returned"), (("--remove",), "cleared")])
def test_home_assistants_topics_need_a_rule(
    options: tuple[str, ...], done: str, person: Person, brief: None
) -> None:
    """A broker drops what it does not permit."""
    person.broker.read_only = {device_topic("oven")}
    person.broker.retained[device_topic("oven")] = json.dumps(
        device("oven")
    ).encode()  # from before: no proof
    code, lines, err = person.types("ha", "oven", "press", *options)
    assert (code, lines) == (3, [])
    cause = f"the broker has not {done} {device_topic('oven')}"
    assert err == f"cascade: {cause}; this user needs the rule: topic readwrite homeassistant/device/#\n"


def test_home_assistant_speaks_mqtt_only(person: Person) -> None:
    """A wrong URL is a wrong command line; nothing is published."""
    code, _, err = person.types("ha", "oven", "--broker", "nats://broker.example")
    assert (code, err) == (2, "cascade: Home Assistant needs an MQTT broker; write mqtt://host:1883\n")
    assert person.types("ha", "oven", "--broker", "wss://broker.example")[0] == 0


def test_a_message_of_others_does_not_prove_that_one_was_taken(
    person: Person, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another operator writes the topic meanwhile, and the broker drops what this command clears."""
    person.broker.read_only = {device_topic("oven")}
    take = person.broker.take

    def of_others(topic: str, content: object) -> None:
        take(topic, content)
        for stream in person.broker.streams:
            stream.deliver(Message(topic, b'{"x": 9}', retain=False))

    monkeypatch.setattr(person.broker, "take", of_others)
    code, _, err = person.types("ha", "oven", "--remove")
    assert (code, "has not cleared homeassistant/device/cascade_oven/config; this" in err) == (3, True)
