"""Runs over real brokers: everything arrives, and nothing that a broker does is felt."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import Broker, eventually

pytestmark = pytest.mark.broker

TASKS = 10_000


@cs.task
async def noop(x: int) -> int:
    return x


@cs.task(mode="inline")
def total(values: list[int]) -> int:
    return sum(values)


@contextmanager
def listening(broker: Broker, topic_filter: str) -> Iterator[list[paho.MQTTMessage]]:
    """Collect messages with a client that knows nothing of Cascade."""
    heard: list[paho.MQTTMessage] = []
    subscribed = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda client, data, message: heard.append(message)
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect(broker.host, broker.port)
    client.subscribe(topic_filter, qos=1)
    client.loop_start()
    try:
        assert subscribed.wait(10)
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def first_copies(messages: list[paho.MQTTMessage]) -> list[dict[str, Any]]:
    return list({m["event_id"]: m for m in (json.loads(message.payload) for message in messages)}.values())


@pytest.fixture(params=["mosquitto", "nats_server"])
def either(request: pytest.FixtureRequest) -> Broker:
    """One broker after the other."""
    broker: Broker = request.getfixturevalue(request.param)
    return broker


async def test_every_event_of_ten_thousand_tasks_arrives_in_order(
    either: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENGINE_STARTED first, ENGINE_STOPPED last, seq without a hole, two events for each task, none lost."""
    monkeypatch.setenv("CASCADE_ORG_ID", f"tests-{either.port}")
    connector = MqttConnector(
        hostname=either.host, port=either.port, drain_timeout=30
    )  # a busy machine is slow
    with listening(either, f"cascade/telemetry/tests-{either.port}/+/+/events") as heard:
        result = await cs.Engine(connector=connector).run(total([noop(n) for n in range(TASKS)]))
        assert result == sum(range(TASKS))
        await eventually(lambda: len(heard) >= 2 * TASKS + 4, 30)
    messages = first_copies(heard)
    assert [m["seq"] for m in messages] == list(range(2 * TASKS + 4))
    bodies = [m["body"] for m in messages]
    assert (bodies[0]["event"], bodies[-1]["event"]) == ("ENGINE_STARTED", "ENGINE_STOPPED")
    assert bodies[-1]["status"] == "Succeeded"
    told: dict[str, list[str]] = {}
    for body in bodies[1:-1]:
        told.setdefault(body["task_id"], []).append(body["state"])
    assert set(map(tuple, told.values())) == {("RUNNING", "COMPLETED")}
    assert len(told) == TASKS + 1
    counts = connector.statistics()
    assert (counts.pending, dict(counts.dropped)) == (0, {})
    assert counts.accepted == counts.sent >= 2 * TASKS + 4  # events, and what control says
    assert not connector.connected


def test_the_ten_lines_of_the_readme_work_with_a_url(broker: Broker) -> None:
    """cs.run with a URL as the connector: the shortest way to be seen."""
    with listening(broker, "cascade/telemetry/#") as heard:
        assert cs.run(total([noop(n) for n in range(3)]), connector=broker.url) == 3
        asyncio.run(eventually(lambda: any(b"ENGINE_STOPPED" in m.payload for m in heard)))


@contextmanager
def silent() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("fault", ["refused", "unknown", "silent"])
def test_a_broker_that_is_not_there_is_not_felt(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """Rows 1 and 2: the result is right with the broker refused, unknown and silent, and one line says so."""
    with silent() as port:
        target = {
            "refused": {"hostname": "127.0.0.1", "port": free_port()},
            "unknown": {"hostname": "broker.invalid", "port": 1883},
            "silent": {"hostname": "127.0.0.1", "port": port},
        }[fault]
        connector = MqttConnector(connect_timeout=0.5, drain_timeout=0.5, **target)  # type: ignore[arg-type]
        assert cs.run(total([noop(n) for n in range(1000)]), connector=connector) == sum(range(1000))
    warnings = [record.getMessage() for record in caplog.records]
    assert str(target["port"]) in warnings[0]
    counts = connector.statistics()
    assert counts.accepted == sum(counts.dropped.values()) >= 2004
    assert len(warnings) <= 2  # why there is no link; what was dropped at the end
