"""Two processes of one name at one broker: the reports of both say so."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import Broker, eventually, unique_topic

pytestmark = pytest.mark.broker

BOUND = 50.0


class Operator:
    """An outside program in plain paho: it writes retained messages and reads what one engine publishes."""

    def __init__(self, broker: Broker, source: str) -> None:
        self.source = source
        self.reports: list[dict[str, Any]] = []
        self._written: set[str] = set()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._hear
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect(broker.host, broker.port)
        self._client.subscribe(f"cascade/state/{source}/constraints", 1)
        self._client.loop_start()
        assert self._subscribed.wait(BOUND)

    def _hear(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        if message.payload:
            self.reports.append(json.loads(message.payload))

    def put(self, topic: str, **message: Any) -> None:
        """Write a register, and wait until the broker has it."""
        self._written.add(topic)
        self._client.publish(topic, json.dumps(message), qos=1, retain=True).wait_for_publish(BOUND)

    def clear(self, topic: str) -> None:
        """Clear a register, and wait until the broker has done so."""
        self._written.discard(topic)
        self._client.publish(topic, b"", qos=1, retain=True).wait_for_publish(BOUND)

    def close(self) -> None:
        """Leave nothing retained behind."""
        for topic in [
            *self._written,
            f"cascade/state/{self.source}/constraints",
            f"cascade/state/{self.source}/runs",
        ]:
            self.clear(topic)
        self.clear(f"cascade/status/{self.source}")
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def source() -> str:
    return unique_topic().replace("/", "-")


@pytest.fixture
def operator(fresh_broker: Broker, source: str) -> Iterator[Operator]:
    outside = Operator(fresh_broker, source)
    yield outside
    outside.close()


@cs.task
async def waits(hold: asyncio.Event) -> None:
    await hold.wait()


@pytest.mark.full
@pytest.mark.parametrize("kind", ["mosquitto", "nats_server"])
async def test_two_processes_of_one_name_say_so_in_both_reports(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Row 20: from the second take-over on; which of them obeys a pause is not known then."""
    either: Broker = request.getfixturevalue(kind)
    source = unique_topic().replace("/", "-")
    operator = Operator(either, source)
    twins = [MqttConnector(either.host, either.port, source_id=source, drain_timeout=1.0) for _ in range(2)]
    hold = asyncio.Event()
    runs = [asyncio.create_task(cs.Engine(connector=twin).run(waits(hold))) for twin in twins]
    try:
        await eventually(
            lambda: len({r["session"] for r in operator.reports if r.get("contested")}) == 2, BOUND
        )
    finally:
        hold.set()
        await asyncio.gather(*runs)
        operator.close()


async def test_a_process_takes_over_that_its_name_is_shared_whatever_the_clocks(
    fresh_broker: Broker, operator: Operator
) -> None:
    """The others may wait for half a minute before they connect again: until then nothing else shows them."""
    left = {
        "v": "1",
        "source": operator.source,
        "session": "another",
        "presence": "another",
        "sync": "synced",
    }
    runs = {"ts": "1970-01-01T00:00:08+00:00", "contested": True, "runs": [], "recent": []}
    operator.put(f"cascade/status/{operator.source}", status="offline", session="another")
    operator.put(f"cascade/state/{operator.source}/runs", **left, **runs)
    for shared in True, False:  # it has ended by itself: the next one does not repeat it
        operator.reports.clear()
        connector = MqttConnector(fresh_broker.host, fresh_broker.port, source_id=operator.source)
        hold = asyncio.Event()
        run = asyncio.create_task(cs.Engine(connector=connector).run(waits(hold)))
        await eventually(lambda: any(report["sync"] == "synced" for report in operator.reports))
        hold.set()
        await run
        synced = [report for report in operator.reports if report["sync"] == "synced"]
        assert {report.get("contested", False) for report in synced} == {shared}
