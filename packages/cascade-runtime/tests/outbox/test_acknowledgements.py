"""When an outbox sends again what its collector does not acknowledge, and how it leaves the acknowledgements."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from fake_link import FakeLink

from cascade.interfaces import Delivery
from cascade.runtime._outbox.collector_acks import Acknowledgements
from cascade.runtime._outbox.file import OutboxFile, Stored
from cascade.runtime._outbox.queue import DurableQueue
from cascade.runtime._outbox.send_order import QueuedMessage


class Timers:
    """Keeps what an event loop was asked to call later, until a test fires it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pauses: list[float] = []
        self._call: Callable[[], None] | None = None
        call_later = loop.call_later

        def noted(seconds: float, call: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
            if getattr(call, "__name__", "") == "_send_again":
                self.pauses.append(seconds)
                self._call = cast("Callable[[], None]", call)
                seconds = 3_600.0
            return call_later(seconds, call, *args)

        monkeypatch.setattr(loop, "call_later", noted)

    def fire(self) -> None:
        """Do what the timer that was made last does when its time comes."""
        assert self._call is not None
        self._call()


class Queue:
    """Answers as a queue does whose file has two events that no collector has acknowledged."""

    linked = True
    stored_ranges: tuple[tuple[int, int], ...] = ()
    in_hand = frozenset[int]()
    overtaken = -1

    def __init__(self) -> None:
        self.calls = 0
        self.added: list[Stored] = []
        self.found = Stored(3, 4, 2)
        self.on_change: Callable[[], object] = lambda: None

    def call(self, apply: object, done: Callable[[Stored], None]) -> None:
        assert apply is OutboxFile.send_again
        self.calls += 1
        done(self.found)

    def add_stored(self, found: Stored) -> None:
        self.added.append(found)


async def following(link: FakeLink, queue: Queue) -> Acknowledgements:
    found = Acknowledgements(link, "press", "c-1")
    await found.follow(cast("DurableQueue", queue))
    return found


async def test_the_pauses_double_from_ten_seconds_to_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time the outbox sends everything again that was sent, and calls ``on_change``, for which its sender waits."""
    timers = Timers(asyncio.get_running_loop(), monkeypatch)
    queue, looks = Queue(), list[int]()
    acknowledgements = await following(FakeLink(), queue)
    queue.on_change = lambda: looks.append(queue.calls)
    after = timers.pauses[-1:]
    for _ in range(10):
        timers.fire()
        after.append(timers.pauses[-1])
    assert after == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0, 3600.0]
    assert (queue.calls, queue.added, looks) == (10, [Stored(3, 4, 2)] * 10, [*range(10)])
    acknowledgements.stop()


async def test_after_the_end_no_timer_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may answer later than that."""
    timers = Timers(asyncio.get_running_loop(), monkeypatch)
    link, queue = FakeLink(), Queue()
    acknowledgements = await following(link, queue)
    acknowledgements.stop()
    acknowledgements.stop()
    count = len(timers.pauses)
    timers.fire()
    assert len(timers.pauses) == count
    await acknowledgements.stopped(60.0)
    assert not link.subscribed


def entry_of(topic: str, text: str) -> QueuedMessage:
    def settled(entry: QueuedMessage, delivery: Delivery) -> None: ...

    return QueuedMessage(settled, 1, topic, text, 1, 0.0)


@pytest.mark.parametrize(
    ("topic", "text", "concerned"),
    [
        ("cascade/telemetry/p/press/run/events", '{"seq": 1, "source": "press"}', True),
        ("cascade/telemetry/p/press/run/events", '{"seq": 1, "source": "press-2"}', False),
        ("cascade/telemetry/p/press/run/data", '{"seq": 1, "source": "press"}', False),
        ("cascade/telemetry/p/press/run/events", '{"celsius": 21.5}', False),
    ],
    ids=["own event", "event of another source", "data", "another program's"],
)
async def test_a_collector_acknowledges_the_events_of_the_own_source(
    topic: str, text: str, concerned: bool
) -> None:
    """Everything else is settled when the broker has it: nothing would ever acknowledge it."""
    acknowledgements = Acknowledgements(FakeLink(), "press", "c-1")
    assert acknowledgements.concerns(entry_of(topic, text)) is concerned
    acknowledgements.stop()
