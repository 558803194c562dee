"""One queue for telemetry and reports: it never waits, never raises, and counts what is lost."""

import asyncio
import logging
from typing import Any

import pytest
from fakes import Plain

from cascade.runtime._support.publish_queue import PublishQueue

log = logging.getLogger("test")


class Nowait(Plain):
    """A connector that takes messages at once; it refuses them while ``broken``."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False

    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        if self.broken:
            raise OSError("refused")
        self.sent.append((topic, payload, qos))


async def test_a_refused_message_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line for each row of failures, and the caller sees no error."""
    connector = Nowait()
    queue = PublishQueue(connector, content="letters", logger=log)
    for broken in (True, True, False, True):
        connector.broken = broken
        queue.publish("t", {})
    await queue.drain(50)
    assert (len(connector.sent), queue.dropped) == (1, 3)
    assert [r.getMessage().split(";")[0] for r in caplog.records] == [
        "letters are lost while the run goes on: OSError: refused"
    ] * 2


@pytest.mark.parametrize("latest_only", [False, True])
async def test_a_waiting_message_can_be_replaced_by_a_later_one(latest_only: bool) -> None:
    """With ``latest_only`` a topic's newest message takes the place of the one that waits."""
    connector = Plain()
    queue = PublishQueue(connector, content="reports", logger=log, latest_only=latest_only)
    for topic, number in (("a", 1), ("b", 2), ("a", 3)):
        queue.publish(topic, {"n": number})
    await queue.drain(50)
    numbers = [payload["n"] for _, payload, _ in connector.sent]
    assert numbers == ([3, 2] if latest_only else [1, 2, 3])
    assert queue.dropped == 0


async def test_the_queue_goes_on_after_a_drain_that_gave_up(caplog: pytest.LogCaptureFixture) -> None:
    """Messages accepted during a drain stay when those before it are dropped."""
    free = asyncio.Event()

    class Slow(Plain):
        async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
            await free.wait()
            await super().publish(topic, payload, qos, retain=retain)

    connector = Slow()
    queue = PublishQueue(connector, content="letters", logger=log)
    for number in range(3):
        queue.publish("t", {"n": number})
    drain = asyncio.create_task(queue.drain(0.01))
    await asyncio.sleep(0)
    queue.publish("t", {"n": 3})
    await drain
    free.set()
    await queue.drain(50)
    assert [payload["n"] for _, payload, _ in connector.sent] == [3]
    assert "2 letters were not sent in time" in caplog.text
    assert queue.dropped == 2  # the connector had begun with the first one


async def test_the_oldest_messages_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted, and a drain waits for none of them."""
    monkeypatch.setattr("cascade.runtime._support.publish_queue.CAPACITY", 2)
    connector = Plain()
    queue = PublishQueue(connector, content="letters", logger=log)
    for number in range(5):
        queue.publish("t", {"n": number}, 1, retain=True)
    await queue.drain(50)
    assert connector.sent == [("t", {"n": 3}, 1), ("t", {"n": 4}, 1)]
    assert queue.dropped == 3


async def test_a_message_that_a_slow_connector_refuses_delays_no_other() -> None:
    """The next one is sent, also one that comes when all others have been sent."""

    class Refusing(Plain):
        async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
            if payload["n"] == 1:
                raise OSError("refused")
            await super().publish(topic, payload, qos, retain=retain)

    connector = Refusing()
    queue = PublishQueue(connector, content="letters", logger=log)
    for number in range(3):
        queue.publish("t", {"n": number})
    await queue.drain(50)
    queue.publish("t", {"n": 3})
    await queue.drain(50)
    assert [payload["n"] for _, payload, _ in connector.sent] == [0, 2, 3]
    assert queue.dropped == 1
