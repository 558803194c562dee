"""Telemetry of a busy run: its events are encoded behind the tasks that made them, in order, and none is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakes import Plain

from cascade.interfaces import TaskState, TaskStateEvent
from cascade.runtime import EventBus, TelemetrySubscriber
from cascade.runtime.telemetry import paced_queue
from cascade.testkit import eventually

RUN = "r" * 32


def event(number: int, **values: Any) -> TaskStateEvent:
    return TaskStateEvent(RUN, f"t:{number}", "t", TaskState.COMPLETED, 1.0, 2.0, token="0" * 8, **values)


class Nowait(Plain):
    """A connector that takes messages at once."""

    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        self.sent.append((topic, payload, qos))


class Telemetry:
    """A subscriber, its bus, and the numbers of the tasks whose events the connector has got."""

    def __init__(self) -> None:
        self.bus, self.connector = EventBus(), Nowait()
        self.subscriber = TelemetrySubscriber(self.bus, self.connector)

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            self.bus.publish(event(number))

    @property
    def sent(self) -> list[int]:
        return [int(message["body"]["task_id"][2:]) for _, message, _ in self.connector.sent]


async def test_when_too_many_events_wait_the_oldest_are_encoded_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory has a bound, and no event is lost for it."""
    monkeypatch.setattr(paced_queue, "CAPACITY", 100)
    telemetry = Telemetry()
    telemetry.publish(*range(500))
    assert telemetry.sent == list(range(400))
    await telemetry.subscriber.drain(0.0)
    assert telemetry.sent == list(range(500))


def test_an_event_waits_for_no_loop_that_is_over() -> None:
    """What waits goes with the next loop; without a running loop every event is encoded at once."""
    telemetry = Telemetry()

    async def publish(*numbers: int) -> None:
        telemetry.publish(*numbers)

    telemetry.publish(0)
    assert telemetry.sent == [0]
    loop = asyncio.new_event_loop()
    loop.run_until_complete(publish(*range(1, 100)))
    loop.close()

    async def go_on() -> None:
        telemetry.publish(100)
        await eventually(lambda: len(telemetry.sent) == 101)

    asyncio.run(go_on())
    asyncio.run(publish(101))
    telemetry.publish(102)
    assert telemetry.sent == list(range(103))


async def test_an_event_that_cannot_be_encoded_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line until one has worked again."""
    telemetry = Telemetry()
    for number in range(100):
        telemetry.bus.publish(event(number, error=object() if number in (40, 41, 60) else ""))
    telemetry.subscriber.close()
    assert telemetry.sent == [number for number in range(100) if number not in (40, 41, 60)]
    assert [line.message.split(";")[0] for line in caplog.records] == ["an event is not sent"] * 2
