"""Brokers that hide what they retain, or send it late: no command takes an empty answer for an empty broker."""

import asyncio
import json
from contextlib import aclosing

import pytest
from cli_modules import Feed

from cascade.interfaces.topics import constraint_topic, state_topic, status_topic, sync_topic
from testing_tools.engines import Plant, eventually
from testing_tools.memory_broker import MemoryBroker, MemoryLink, Person
from testing_tools.odd_broker import OddBroker

ONLINE = {
    status_topic("oven"): {"status": "online", "session": "s", "ts": "2026-11-21T03:00:20+00:00"},
    state_topic("oven", "runs"): {"v": "1.0", "source": "oven", "session": "s", "presence": "s", "runs": []},
}


@pytest.fixture
def broker() -> MemoryBroker:
    """A broker that proves nothing, with one engine."""
    broker = MemoryBroker(ONLINE)
    broker.proved = False
    return broker


def test_messages_behind_an_unproved_end_are_awaited(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare name is found among them, too."""
    person = Person(broker, monkeypatch)
    code, lines, err = person.types("ps", "--json")
    assert (code, [row["source"] for row in json.loads(lines[0])], err) == (0, ["oven"], "")
    assert person.types("pause", "oven")[0] == 0


@pytest.mark.parametrize("command", ["ps", "runs", "constraints"])
@pytest.mark.parametrize(
    ("wildcards", "keeps", "complete", "said"),
    [
        (True, True, True, ""),
        (False, True, True, "this broker sends no retained messages for filters with wildcards"),
        (False, False, True, "the broker has not returned a retained message of this command's own"),
        (True, True, False, "the broker does not show whether all its retained messages have arrived"),
    ],
)
def test_an_empty_list_is_a_statement(
    command: str,
    wildcards: bool,
    keeps: bool,
    complete: bool,
    said: str,
    broker: MemoryBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row 49: what the broker hides is named on standard error; the message that has shown it is cleared."""
    monkeypatch.setattr("secrets.token_hex", lambda _: "0")
    monkeypatch.setattr("cascade.cli.snapshot.ECHO_SECONDS", 0.01)
    if wildcards:
        broker.retained.clear()
    broker.wildcards, broker.complete = wildcards, complete
    if not keeps:
        broker.read_only.add(sync_topic("doctor-0", "doctor-0"))
    code, lines, err = Person(broker, monkeypatch).types(command, "--json")
    assert (code, lines, err.partition(said)[::2] if said else (err, "")) == (
        0,
        ["[]"],
        ("", err[len(said) :]),
    )
    assert (err == "") == (said == "")
    assert not [topic for topic in broker.retained if topic.startswith("cascade/sync")]


def test_what_is_tried_is_a_topic_that_access_rules_permit(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An observer may write below its own name only."""
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", "x")
    broker.retained.clear()
    found = Person(broker, monkeypatch).types("ps", "--json", "--broker", "mqtts://wall@broker.example")
    assert found == (0, ["[]"], "")
    assert {topic.rpartition("/")[0] for topic, _ in broker.written} == {"cascade/sync/wall"}


def test_watch_names_a_broker_that_hides_its_engines(broker: MemoryBroker) -> None:
    """An empty screen would say that there are none."""
    broker.wildcards = False
    feed = Feed(MemoryLink(broker))  # type: ignore[arg-type] # what a watch uses of a link

    async def first_picture() -> None:
        async with aclosing(feed.ticks()) as ticks:
            await anext(ticks)

    asyncio.run(first_picture())
    assert feed.notice.startswith("this broker sends no retained messages for filters with wildcards")


def test_a_bare_name_is_written_where_the_broker_hides_its_engines(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the note; an engine whose own topic the broker sends is known all the same."""
    broker.wildcards = False
    person = Person(broker, monkeypatch)
    code, lines, err = person.types("pause", "press-3")
    assert (code, lines) == (0, [constraint_topic("source:press-3", "pause")])
    assert "this broker sends no retained messages for filters with wildcards" in err
    assert person.types("pause", "oven")[2] == ""


@pytest.mark.parametrize("wildcards", [True, False])
def test_a_wait_says_that_engines_may_be_hidden(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, wildcards: bool
) -> None:
    """What does not show itself meanwhile is not waited for: only a broker that sends what it retains shows that there is nothing."""
    broker.wildcards = wildcards
    if wildcards:
        broker.retained.clear()
    _, _, err = Person(broker, monkeypatch).types("pause", "--wait", "--timeout", "1s")
    assert ("this broker sends no retained messages for filters with wildcards" in err) is not wildcards
    assert "no live engine is in the scope global" in err


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_a_limit_is_lifted_before_clear_says_so_on_a_broker_without_wildcards() -> None:
    """As on RabbitMQ: the engine's own report decides, and the topic of every type is cleared."""
    with OddBroker(retained_for_wildcards=False) as broker, Plant(broker) as plant:  # type: ignore[arg-type]
        plant.start("press-1")
        report = "cascade/state/press-1/constraints"
        eventually(lambda: b"degraded" in broker.retained().get(report, b""), "the engine follows the broker")
        limit = constraint_topic("source:press-1", "rate_limit")
        assert plant.cascade("limit", "press-1", "--rate", "60/m", "--wait").returncode == 0
        assert limit in broker.retained()
        done = plant.cascade("clear", "press-1", "--wait", "--json")
        assert (done.returncode, json.loads(done.stdout)["applied"]) == (0, ["press-1"])
        assert limit not in broker.retained()
        assert json.loads(broker.retained()[report])["effective"] == []
