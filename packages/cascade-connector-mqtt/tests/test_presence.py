"""What a named connector keeps on its retained topics, on a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import aiomqtt
import pytest

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import SupportsBroker, SupportsLink, supports
from cascade.interfaces.topics import state_topic, status_topic
from cascade.testkit import Broker, eventually
from testing_tools.recorder import Recorder

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("patient"),
    pytest.mark.wrong_messages("anything may be on its topics", "cascade/status/+", "cascade/state/#"),
]

NAME = "press-line-3"
STATUS = status_topic(NAME)
CONSTRAINTS, RUNS = state_topic(NAME, "constraints"), state_topic(NAME, "runs")

DEAD_RUN = {"v": "1.0", "source": NAME, "session": "dead", "runs": [{"run_id": "dead", "target": "report"}]}


@pytest.fixture
def recorder(fresh_broker: Broker) -> Iterator[Recorder]:
    with Recorder(fresh_broker.host, fresh_broker.port, "#") as started:
        yield started


def last(recorder: Recorder, topic: str) -> dict[str, Any]:
    """Return the last message of a topic, decoded; {} if there is none."""
    messages = recorder.of(topic)
    return dict(messages[-1].json()) if messages and messages[-1].payload[:1] == b"{" else {}


def births_are(recorder: Recorder, birth: bytes, count: int) -> bool:
    """Return whether the status topic has held the birth so many times."""
    return [message.payload for message in recorder.of(STATUS)].count(birth) == count


async def put(broker: Broker, topic: str, payload: bytes) -> None:
    async with aiomqtt.Client(broker.host, broker.port) as client:
        await client.publish(topic, payload, qos=1, retain=True)


@pytest.mark.full
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no json",
        b"\xff",
        b'{"status": "online", "session": "foreign"}',
        b'{"status": "offline", "session": "foreign"}',
        None,
    ],
    ids=["empty", "garbage", "bytes", "foreign online", "foreign offline", "own offline"],
)
async def test_whatever_is_put_on_the_status_topic_the_birth_replaces_it(
    fresh_broker: Broker, recorder: Recorder, payload: bytes | None
) -> None:
    """Row 20: the last message on the topic is the birth, however often it is overwritten."""
    async with MqttConnector(fresh_broker.host, fresh_broker.port, source_id=NAME):
        await eventually(lambda: recorder.of(STATUS))
        birth = recorder.of(STATUS)[-1].payload
        wrong = payload
        if wrong is None:
            wrong = json.dumps({"status": "offline", "session": json.loads(birth)["session"]}).encode()
        for n in (2, 3):
            await put(fresh_broker, STATUS, wrong)
            await eventually(partial(births_are, recorder, birth, n))
            assert recorder.of(STATUS)[-1].payload == birth


@pytest.mark.full
async def test_a_second_process_of_the_name_is_reported(
    fresh_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning names the remedy, also where the client ids differ, so that neither is disconnected."""
    async with (
        MqttConnector(fresh_broker.host, fresh_broker.port, source_id=NAME, client_id="one"),
        MqttConnector(fresh_broker.host, fresh_broker.port, source_id=NAME, client_id="two"),
    ):
        await eventually(lambda: "another process announces itself" in caplog.text)
    assert "give every process a name (source_id) of its own" in caplog.text


async def test_both_reports_say_idle_after_the_birth_and_name_its_session(
    fresh_broker: Broker, recorder: Recorder
) -> None:
    """What an earlier process of the name has left is replaced before the first run."""
    await put(fresh_broker, RUNS, json.dumps(DEAD_RUN).encode())
    connector = MqttConnector(fresh_broker.host, fresh_broker.port, source_id=NAME)
    assert supports(connector, SupportsLink)
    assert connector.presence is None
    async with connector:
        await eventually(lambda: last(recorder, RUNS).get("presence") and last(recorder, CONSTRAINTS))
        session = last(recorder, STATUS)["session"]
        assert session == connector.presence
        runs, constraints = last(recorder, RUNS), last(recorder, CONSTRAINTS)
        assert (runs["runs"], runs["presence"], runs["source"]) == ([], session, NAME)
        assert (constraints["sync"], constraints["presence"]) == ("idle", session)
        assert (constraints["applied"], constraints["effective"]) == ({}, [])
    for topic in (RUNS, CONSTRAINTS):
        assert await retained(fresh_broker, topic)


ENDED_RUN = {
    "run_id": "77fe",
    "target": "report",
    "status": "Failed",
    "error": "ValueError: no such file",
    "started": "2026-11-21T02:00:20.000000+00:00",
    "ended": "2026-11-21T02:00:28.123000+00:00",
    "attempt": 1,
    "duration_ms": 8123.0,
    "counts": {"COMPLETED": 40, "FAILED": 1},
}


async def test_runs_that_ended_in_an_earlier_process_outlive_it(
    fresh_broker: Broker, recorder: Recorder
) -> None:
    """The connector reads the own report before it replaces it, carries valid rows over, and reads it no more."""
    recent = [ENDED_RUN, {"run_id": "bad", "status": "Lost"}, "garbage", ENDED_RUN | {"ended": "never"}]
    await put(fresh_broker, RUNS, json.dumps(DEAD_RUN | {"recent": recent}).encode())
    connector = MqttConnector(fresh_broker.host, fresh_broker.port, source_id=NAME)
    assert supports(connector, SupportsBroker)
    for _ in range(2):  # a second session of the same connector carries them over, too
        async with connector:
            await eventually(lambda: last(recorder, RUNS).get("presence") == connector.presence)
            await eventually(lambda: last(recorder, RUNS).get("recent") == [ENDED_RUN])
            assert connector.earlier_runs == [ENDED_RUN]
            assert last(recorder, RUNS)["runs"] == []
            await eventually(lambda: not connector._dispatcher.has(RUNS))


@pytest.mark.parametrize(
    ("keywords", "warned"),
    [
        ({"username": "press-3"}, True),
        ({"username": "press-3", "source_id": "press-3"}, False),
        ({"username": "press-3", "presence": False}, False),
        ({}, False),
    ],
)
async def test_a_process_with_a_user_and_without_a_name_is_warned_once(
    keywords: dict[str, Any], warned: bool, fresh_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """Access rules know an engine by its user; a tool has no name."""
    connector = MqttConnector(fresh_broker.host, fresh_broker.port, **keywords)
    async with connector:
        await eventually(lambda: connector.statistics().linked)
    lines = [
        record.getMessage() for record in caplog.records if "pass source_id='press-3'" in record.getMessage()
    ]
    assert len(lines) == (1 if warned else 0)


async def test_an_unnamed_connector_leaves_nothing_retained(fresh_broker: Broker) -> None:
    """Neither reports nor a canary, also with an open watch whose set is complete."""
    for keywords in ({}, {"presence": False}):
        connector = MqttConnector(fresh_broker.host, fresh_broker.port, **keywords)
        assert connector.presence is None
        async with connector:
            stream = connector.watch("cascade/#")
            await anext(stream)
            await anext(stream)
            await stream.aclose()
    assert await retained(fresh_broker, "#") == {}


async def retained(broker: Broker, topic_filter: str) -> dict[str, Any]:
    """Return the retained message of a filter, as a new subscriber gets it; {} if there is none."""
    async with aiomqtt.Client(broker.host, broker.port) as client:
        await client.subscribe(topic_filter)
        await client.subscribe("end")
        await client.publish("end", b"")
        async for message in client.messages:
            if str(message.topic) == "end":
                return {}
            assert isinstance(message.payload, bytes)
            return dict(json.loads(message.payload))
    raise AssertionError("the broker has closed the connection")
