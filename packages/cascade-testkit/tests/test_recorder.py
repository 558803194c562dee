"""The recorder misses nothing, through restarts of the broker too."""

import asyncio
import json
import threading

import aiomqtt
import pytest

from cascade.interfaces import ConnectorUnavailable
from cascade.testkit import Broker, Mosquitto, eventually, no_leaks, unique_topic
from cascade.testkit.fixtures import require_mosquitto
from testing_tools.recorder import Recorder

pytestmark = pytest.mark.broker


async def publish(broker: Broker, topic: str, *payloads: str, retain: bool = False) -> None:
    async with aiomqtt.Client(broker.host, broker.port) as client:
        for payload in payloads:
            await client.publish(topic, payload.encode(errors="surrogateescape"), qos=1, retain=retain)


async def test_it_records_messages_as_they_come(broker: Broker) -> None:
    """Topic, bytes and flags, in order; a retained message from before shows as one."""
    topic = unique_topic()
    await publish(broker, f"{topic}/kept", "0", retain=True)
    with Recorder(broker.host, broker.port, f"{topic}/#") as recorder:
        await publish(broker, f"{topic}/a", "1", "2")
        await eventually(lambda: len(recorder.messages) == 3)
        assert [(message.payload, message.retain) for message in recorder.messages] == [
            (b"0", True),
            (b"1", False),
            (b"2", False),
        ]
        assert [message.json() for message in recorder.of(f"{topic}/a")] == [1, 2]
    await publish(broker, f"{topic}/kept", "", retain=True)


async def test_first_copies_leave_out_what_came_twice(broker: Broker) -> None:
    """By ``event_id``, in order of arrival; a message without one, or that is not a JSON object, is not an event."""
    topic = unique_topic()
    others = ['{"other": 0}', "", "7", "[1]", '"event_id"', "{", '{"event_id": [1]}', "\udcff", "[" * 20_000]
    with Recorder(broker.host, broker.port, topic) as recorder:
        await publish(broker, topic, *others, *(json.dumps({"event_id": n}) for n in (1, 2, 1, 3)))
        await eventually(lambda: len(recorder.messages) == 4 + len(others))
        assert [event["event_id"] for event in recorder.first_copies(topic)] == [1, 2, 3]


async def test_its_session_outlives_a_restart_of_the_broker() -> None:
    """What is published while it is not linked, or before the broker died, is there afterwards."""
    require_mosquitto()
    with Mosquitto(durable=True) as broker, Recorder(broker.host, broker.port, "a") as recorder:
        for n in range(3):
            await publish(broker, "a", str(n))
            await asyncio.to_thread(broker.restart)
        await eventually(lambda: {message.json() for message in recorder.messages} == {0, 1, 2})


async def test_it_leaves_no_thread_and_no_session_behind() -> None:
    """After stop the broker queues nothing for it; twice is harmless."""
    require_mosquitto()
    with Mosquitto() as broker:
        async with no_leaks():
            before = {*threading.enumerate()}
            recorder = Recorder(broker.host, broker.port, "a").start()
            assert {*threading.enumerate()} - before
            recorder.stop()
            recorder.stop()
        broker.terminate()
        assert recorder._client_id.encode() not in (broker._store / "mosquitto.db").read_bytes()


def test_a_broker_that_refuses_is_an_error_in_words(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    """The reason is the broker's own, or that there was no answer."""
    require_mosquitto()
    with Mosquitto(users={"ann": "secret"}) as broker:
        with pytest.raises(ConnectorUnavailable, match=r"[Nn]ot authori[sz]ed"):
            Recorder(broker.host, broker.port, username="ann", password="wrong").start()
        with Recorder(broker.host, broker.port, username="ann", password="secret") as recorder:
            assert repr(recorder) == "<Recorder of #: 0 messages>"
    monkeypatch.setattr("testing_tools.recorder._START_SECONDS", 0.5)
    with pytest.raises(ConnectorUnavailable, match="no answer"):
        Recorder("127.0.0.1", closed_port).start()
