"""All that a busy engine sends, and all that steers it, is described by the AsyncAPI document of the wire."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.control_messages import constraint_message, store_message
from cascade.interfaces.topics import STORE_TOPIC, constraint_topic
from cascade.testkit import Broker, eventually
from testing_tools.recorder import Recorder
from testing_tools.wire_traffic import Traffic, channels_of, document, problems


def values_of(content: Any, wanted: set[str]) -> Iterator[tuple[str, Any]]:
    """The values of some keys, at every level."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key in wanted and isinstance(value, str):
                yield key, value
            yield from values_of(value, wanted)
    elif isinstance(content, list):
        for each in content:
            yield from values_of(each, wanted)


def test_a_wrong_message_of_any_test_is_found() -> None:
    """An unknown topic, a wrong type, an unknown state, and a report that Home Assistant cannot render."""
    body = {
        "type": "TaskStateEvent",
        "task_id": "a",
        "task_name": "a",
        "state": "RUNNING",
        "duration_ms": 0,
        "error": "",
    }
    head = {
        "v": "1.0",
        "ts": "t",
        "run_id": "r",
        "org_id": "o",
        "project_id": "p",
        "source": "s",
        "seq": 0,
        "token": "t",
        "event_id": "e",
    }
    events = "cascade/telemetry/o/p/r/events"

    def found(topic: str, content: Any) -> list[str]:
        traffic = Traffic()
        traffic.keep(topic, content)
        return traffic.problems()

    assert found(events, {**head, "body": body}) == []
    assert "'DONE'" in str(found(events, json.dumps({**head, "body": {**body, "state": "DONE"}})))
    assert found(events, {**head, "seq": "0", "body": body}) != []
    assert found("cascade/telemetry/o/p/r/later", {}) == ["cascade/telemetry/o/p/r/later: channels []"]
    assert "Home Assistant" in str(found("cascade/state/s/runs", {"v": "1.0", "runs": 3}))
    assert found("elsewhere", {"any": "thing"}) == []


@cs.task(mode="inline")
def double(x: int) -> int:
    return 2 * x


@cs.task
async def report_progress(x: int) -> int:
    await cs.checkpoint(done=1, total=2, message="half", unit="parts")
    cs.publish("temperature", {"celsius": 21.5})
    logging.getLogger("press").warning("oil is low")
    await asyncio.sleep(0)
    return x


@cs.task
async def fail() -> None:
    raise ValueError("no oil")


class Flaky:
    """Fails at its first call."""

    def __init__(self) -> None:
        self.calls = 0

    def task(self) -> Any:
        @cs.task
        async def flaky() -> int:
            self.calls += 1
            if self.calls == 1:
                raise OSError("not yet")
            return 1

        return flaky()


@cs.workflow(every="1d", lease="hall-2", lease_ttl="1s")
def by_the_clock() -> cs.LazyResult[list[int]]:
    return double.map(x=[1])


@cs.workflow
def count(number: int = 1) -> cs.LazyResult[list[int]]:
    """Double a few numbers."""
    return double.map(x=range(number))


async def work(connector: MqttConnector, held: asyncio.Event) -> None:
    """Runs of every end: one is held by a constraint, one fails, one is cancelled."""
    engine = cs.Engine(connector=connector, logs="INFO", labels={"site": "hall-2"})

    @cs.task
    async def wait() -> None:
        held.set()
        await asyncio.Event().wait()

    each = double.map(x=report_progress.map(x=range(3)))
    await engine.run(
        [each, Flaky().task().with_retry(2, delay=0), double(1).run_if(double(0))],
        name="nightly",
        tags={"line": 3},
    )
    with pytest.raises(ValueError, match="no oil"):
        await engine.run(fail())
    with pytest.raises(cs.RunCancelledError):
        await engine.run(wait(), run_id="to-cancel")


@pytest.mark.broker
async def test_every_message_matches_a_channel(fresh_broker: Broker) -> None:
    """No topic is unknown, no message is wrong, and every channel and every state was seen."""
    held = asyncio.Event()
    with Recorder(fresh_broker.host, fresh_broker.port, "cascade/#") as recorder:

        def seen(channel: str) -> list[Any]:
            return [
                json.loads(m.payload)
                for m in recorder.messages
                if m.payload and channels_of(m.topic) == [channel]
            ]

        async def set_register(connector: MqttConnector, scope: str, kind: str, **params: Any) -> str:
            topic = constraint_topic(scope, kind)
            await connector.publish(topic, constraint_message(scope, kind, params), 1, retain=True)
            await eventually(lambda: any(topic in each["applied"] for each in seen("constraints")))
            return topic

        async with (
            MqttConnector.from_url(fresh_broker.url) as tool,
            MqttConnector.from_url(fresh_broker.url, source_id="press") as connector,
        ):
            await tool.publish(STORE_TOPIC, store_message(), 1, retain=True)
            pausing = asyncio.create_task(work(connector, held))
            await eventually(lambda: seen("constraints") != [])
            short = constraint_topic("global")
            await tool.publish(short, {"type": "concurrency", "params": {"limit": 9}}, 1, retain=True)
            lifted = [
                await set_register(tool, "task:wait", "pause"),
                await set_register(tool, "task:double", "concurrency", limit=2),
                await set_register(tool, "source:press", "rate_limit", rate="1000/s"),
                await set_register(tool, "run:other", "cancel"),
            ]
            await eventually(lambda: any(row.get("waiting") for each in seen("runs") for row in each["runs"]))
            for topic in (*lifted, short):
                await tool.publish(topic, None, 1, retain=True)
            await asyncio.wait_for(held.wait(), 50)
            await set_register(tool, "run:to-cancel", "cancel")
            await asyncio.wait_for(pausing, 50)
            ack = {"v": "1.0", "by": "collector-1", "upto": {"to-cancel-0": 1}, "missing": {}}
            await tool.publish("cascade/ack/press", ack, 1, retain=True)
            await eventually(lambda: seen("ack") != [] and any(not each["runs"] for each in seen("summary")))
            serving = asyncio.create_task(
                cs.aserve(count, by_the_clock, connector=f"{fresh_broker.url}?source_id=oven")
            )
            await eventually(lambda: seen("workflows") != [])
            await tool.publish("cascade/requests/oven/count", {"id": "r1", "params": {"number": 2}}, 1)
            await eventually(lambda: seen("response") != [] and seen("lease") != [])
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
        await eventually(lambda: any(each["status"] == "offline" for each in seen("status")))
    channels: Counter[str] = Counter()
    found: set[tuple[str, Any]] = set()
    wrong: list[str] = []
    for message in recorder.messages:
        (channel,) = channels_of(message.topic)
        if message.payload:
            content = json.loads(message.payload)
            if channel != "shortRegister":  # readers need only its type; the schema is that of writers
                wrong += [f"{message.topic}: {problem}" for problem in problems(channel, content)]
            found.update(values_of(content, {"state", "event", "status"}))
        channels[channel] += 1
    assert sorted(set(wrong)) == []
    assert channels.keys() == document()["channels"].keys()
    states = {"RUNNING", "COMPLETED", "FAILED", "SKIPPED", "BLOCKED", "RETRYING", "CANCELLED"}
    assert {value for key, value in found if key == "state"} == states
    assert {value for key, value in found if key == "event"} == {"ENGINE_STARTED", "ENGINE_STOPPED"}
    statuses = {"Succeeded", "Failed", "Cancelled", "online", "offline", "applied", "no_match"}
    assert statuses <= {value for key, value in found if key == "status"}
