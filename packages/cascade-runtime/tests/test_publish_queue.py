"""One queue for telemetry and reports: it never waits, never raises, and counts what is lost."""

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
