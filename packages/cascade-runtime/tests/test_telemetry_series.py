"""Each kind of event has a topic and a series of its own, and one subscriber masks for all that use it."""

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from fakes import Plain

from cascade.interfaces import (
    DataEvent,
    Event,
    Lifecycle,
    LifecycleEvent,
    LogEvent,
    ProgressEvent,
    Redactor,
    RunStatus,
    TaskState,
    TaskStateEvent,
)
from cascade.runtime import EventBus, TelemetrySubscriber
from cascade.runtime.telemetry.subscriber import DurableEventQueue

BEGAN = LifecycleEvent("r1", Lifecycle.ENGINE_STARTED, 1.0, token="t")
RUNS = TaskStateEvent("r1", "a:0", "a", TaskState.RUNNING, 2.0, token="t")
LINE = LogEvent("r1", "a:0", "a", 2.0, "INFO", "users", "hello", token="t")
VALUE = DataEvent("r1", "a:0", "a", 2.0, "celsius", 21.5, token="t")
PROGRESS = ProgressEvent("r1", "a:0", "a", 2.0, 1, 2, token="t")
ENDED = LifecycleEvent("r1", Lifecycle.ENGINE_STOPPED, 3.0, RunStatus.SUCCEEDED, token="t")


async def sent(*events: Event) -> tuple[TelemetrySubscriber, list[tuple[str, Mapping[str, Any], int]]]:
    """Return the messages of events of a bus, in the order of their topics and of their seq."""
    bus, connector = EventBus(), Plain()
    subscriber = TelemetrySubscriber(bus, connector, qos=0)
    for event in events:
        bus.publish(event)
    await subscriber.drain(50.0)
    subscriber.close()
    return subscriber, sorted(connector.sent, key=lambda each: each[0])


async def test_a_subscriber_of_the_user_masks_what_a_run_masks_and_stays() -> None:
    """What the user masks is masked as well; no second subscriber is attached for that connector, but one for another."""
    bus, connector = EventBus(), Plain()
    own = TelemetrySubscriber(bus, connector, redactor=Redactor(names=("mine",)))
    listening = len(bus.handlers())
    with TelemetrySubscriber.attached(bus, connector, Redactor(names=("theirs",))) as used:
        assert used is own
        assert len(bus.handlers()) == listening
        with TelemetrySubscriber.attached(bus, Plain()) as second:
            assert second is not own
    assert len(bus.handlers()) == listening
    bus.publish(LINE._replace(message="mine=1 theirs=2 ours=3"))
    await own.drain(50.0)
    ((_, message, _),) = connector.sent
    assert message["body"]["message"] == "mine=*** theirs=*** ours=3"


class DiskQueue:
    """A queue that keeps messages on disk, but for the disk."""

    dropped = 3

    def __init__(self) -> None:
        self.kept: list[str] = []

    def publish(self, topic: str, payload: Mapping[str, Any], qos: int = 0) -> None:
        self.kept.append(payload["body"]["type"])

    def publish_text(self, topic: str, text: str, qos: int = 0, *, on_safe: Any = None) -> None:
        self.kept.append(json.loads(text)["body"]["type"])

    async def drain(self, timeout: float) -> None: ...


@pytest.mark.parametrize("recorded", [False, True])
async def test_beside_a_queue_on_disk_only_progress_goes_straight_to_the_connector(recorded: bool) -> None:
    """Only its latest message matters; all others are kept, also those of a recorded run. Both may drop messages."""
    bus, connector, queue = EventBus(), Plain(), DiskQueue()
    subscriber = TelemetrySubscriber(bus, connector, queue=cast(DurableEventQueue, queue))
    if recorded:
        assert subscriber.follow("r1") is not None
    for event in (BEGAN, RUNS, PROGRESS, LINE, VALUE, PROGRESS, ENDED):
        bus.publish(event)
    kept = ["LifecycleEvent", "TaskStateEvent", "LogEvent", "DataEvent", "LifecycleEvent"]
    assert queue.kept == kept
    await subscriber.drain(50.0)
    assert [message["body"]["type"] for _, message, _ in connector.sent] == ["ProgressEvent"] * 2
    assert queue.kept == kept
    assert (subscriber.produced, subscriber.dropped) == (3, 3)
    subscriber.unfollow("r1")
    subscriber.close()
    assert bus.handlers() == []
