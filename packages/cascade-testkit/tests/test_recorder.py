"""The recorder misses nothing, through restarts of the broker too."""

import asyncio
import json

import aiomqtt
import pytest

from cascade.testkit import Broker, Mosquitto, eventually, unique_topic
from cascade.testkit.fixtures import require_mosquitto
from testing_tools.recorder import Recorder

pytestmark = pytest.mark.broker


async def publish(broker: Broker, topic: str, *payloads: str, retain: bool = False) -> None:
    async with aiomqtt.Client(broker.host, broker.port) as client:
        for payload in payloads:
            await client.publish(topic, payload.encode(errors="surrogateescape"), qos=1, retain=retain)


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
