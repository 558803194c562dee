"""The looks of watches on one link, with packets that only write down what is sent."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from cascade.interfaces.topics import canary_topic
from cascade.interfaces.watch import Complete, Linked, Lost, Message
from cascade.transport.delivery.message import Delivery, IncomingMessage
from cascade.transport.delivery.watches import WatchQueue
from cascade.transport.looks import REFUSED, Looks
from cascade.transport.retained_set import Canary, RetainedSet

SOURCE = "s"
OWN = f"cascade/sync/{SOURCE}/+"


class Desk:
    """One watch whose broker is the test."""

    def __init__(self, topic_filter: str, *, canary: Canary | None, turn: asyncio.Lock) -> None:
        numbers = itertools.count()
        self.retained = RetainedSet(
            (topic_filter,),
            source=SOURCE,
            canary=canary,
            new_nonce=lambda: f"{topic_filter[0]}{next(numbers)}",
        )
        self.queue = WatchQueue((), Delivery(logging.getLogger("cascade")), retained=self.retained)
        self.sent: list[tuple[str, ...]] = []
        self.published: list[str] = []
        self.refused: tuple[str, ...] = ()
        self.answering = asyncio.Event()
        """Whether the broker answers SUBSCRIBE."""
        self.answering.set()
        self.reports: list[object] = []
        self.looks = Looks(self.queue, self.retained, self, turn=turn, report=self.reports.append)
        self.task = asyncio.create_task(self.looks.run())

    async def subscribe(self, filters: Sequence[str]) -> Sequence[str] | None:
        self.sent.append(tuple(filters))
        await self.answering.wait()
        return [each for each in filters if each in self.refused]

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        self.sent.append(("unsubscribe", *filters))

    async def publish(self, topic: str, payload: dict[str, str], *, retain: bool) -> None:
        self.published.append(topic)

    def hear(self, topic: str, payload: bytes = b"x", *, retain: bool = True) -> None:
        self.queue.offer(IncomingMessage(topic, payload, retain=retain))

    async def echo(self) -> None:
        """Send back the last nonce, and let the watch go on."""
        await settle()
        self.hear(self.published[-1], b"{}", retain=False)
        await settle()

    async def items(self) -> list[object]:
        """Return what the reader can read now."""
        await settle()
        found: list[object] = []
        while self.queue._queue or self.queue._overflow:
            found.append(await self.queue.next())
        await settle()
        return found


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest_asyncio.fixture
async def desks() -> AsyncIterator[list[Desk]]:
    made: list[Desk] = []
    yield made
    for desk in made:
        desk.task.cancel()
    await asyncio.gather(*(desk.task for desk in made), return_exceptions=True)


async def test_watches_that_share_a_canary_look_one_after_the_other(desks: list[Desk]) -> None:
    """The second one gets its messages at once, and begins its look when the first one has ended."""
    canary, turn = Canary(), asyncio.Lock()
    desks += [Desk(each, canary=canary, turn=turn) for each in ("a/#", "b/#")]
    one, other = desks
    await settle()
    assert one.sent == [("a/#", OWN)]
    assert (other.sent, other.published) == ([("b/#",)], [])
    assert await other.items() == [Linked()]
    one.hear(canary_topic(SOURCE))
    await one.echo()
    assert await one.items() == [Linked(), Complete(True, frozenset())]
    assert other.sent == [("b/#",), ("b/#", OWN)]
    other.hear(canary_topic(SOURCE))
    await other.echo()
    assert await other.items() == [Complete(True, frozenset())]


async def test_messages_in_front_of_the_answer_follow_linked(desks: list[Desk]) -> None:
    """A broker may send them first, and both may arrive in one packet."""
    desk = Desk("a/#", canary=None, turn=asyncio.Lock())
    desks.append(desk)
    desk.answering.clear()
    await settle()
    desk.hear("a/1")
    desk.hear("a/2", retain=False)
    assert await desk.items() == []
    desk.answering.set()
    expected = [Linked(), Message("a/1", b"x", retain=True), Message("a/2", b"x", retain=False)]
    assert await desk.items() == expected
    desk.hear("a/2", retain=False)
    assert await desk.items() == expected[2:]


async def test_a_link_that_ends_in_front_of_the_answer_takes_its_messages_along(desks: list[Desk]) -> None:
    """The next link brings the retained ones again, and no message comes behind ``Lost``."""
    desk = Desk("a/#", canary=None, turn=asyncio.Lock())
    desks.append(desk)
    desk.answering.clear()
    await settle()
    desk.hear("a/1")
    desk.task.cancel()
    await settle()
    desk.queue.note(Lost("the link is down"))
    assert await desk.items() == [Lost("the link is down")]


@pytest.mark.parametrize("limit", ["WATCH_MESSAGES", "WATCH_BYTES"])
async def test_what_waits_for_the_answer_is_bounded(
    limit: str, desks: list[Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limits of the queue they are discarded, and the reader learns it."""
    monkeypatch.setattr(f"cascade.transport.delivery.watches.{limit}", 4 if limit == "WATCH_MESSAGES" else 16)
    desk = Desk("a/#", canary=None, turn=asyncio.Lock())
    desks.append(desk)
    desk.answering.clear()
    await settle()
    for _ in range(5):
        desk.hear("a/1", retain=False)
    desk.answering.set()
    assert await desk.items() == [Lost("queue full"), Linked()]


async def test_after_an_overflow_no_complete_is_yielded_before_the_set_is_there_again(
    desks: list[Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that waited, nor that of the look that went on, nor that of a further link."""
    monkeypatch.setattr("cascade.transport.delivery.watches.WATCH_MESSAGES", 4)
    desk = Desk("a/#", canary=None, turn=asyncio.Lock())
    desks.append(desk)
    await settle()
    desk.hear("a/1")
    await desk.echo()
    await desk.echo()
    assert len(desk.sent) == 1
    for _ in range(2):  # beside these there is room for the Complete
        desk.hear("a/2", retain=False)
    desk.queue.note(Complete(False, frozenset()))  # of a link that came meanwhile
    live = Message("a/2", b"x", retain=False)
    assert [item for item in await desk.items() if not isinstance(item, Linked)] == [
        Lost("queue full"),
        live,
        live,
    ]
    assert len(desk.sent) == 2
    desk.hear("a/1")
    desk.hear("a/2")
    await desk.echo()
    await desk.echo()
    assert (await desk.items())[-1] == Complete(False, frozenset({"a/1", "a/2"}))


async def test_a_closed_watch_ends_its_looks(desks: list[Desk]) -> None:
    """Nothing is sent, and no task is left."""
    desk = Desk("a/#", canary=None, turn=asyncio.Lock())
    desks.append(desk)
    await settle()
    desk.queue.end()
    desk.looks.end()
    await asyncio.wait_for(desk.task, 50)
    assert desk.queue.looks is None


async def test_a_refused_filter_is_tried_again_and_reported_once(desks: list[Desk]) -> None:
    """``Linked`` follows when it is granted; the sync topics do not concern the reader."""
    desk = Desk("a", canary=None, turn=asyncio.Lock())
    desks.append(desk)
    desk.refused = ("a",)
    await settle()
    assert await desk.items() == [Lost(REFUSED)]
    desk.looks.look_again()
    await settle()
    assert await desk.items() == []
    desk.refused = (OWN,)
    desk.looks.look_again()
    await settle()
    assert await desk.items() == [Linked()]
    assert desk.published == []


async def test_a_nonce_does_not_wait_for_the_answer_to_subscribe(desks: list[Desk]) -> None:
    """SUBSCRIBE and nonce take one round trip; the set is complete when both are answered."""
    desk = Desk("a/#", canary=(canary := Canary()), turn=asyncio.Lock())
    desks.append(desk)
    canary.kept = True
    desk.answering.clear()
    await settle()
    assert (len(desk.sent), len(desk.published)) == (1, 1)
    desk.hear("a/1")
    desk.hear(canary_topic(SOURCE))
    await desk.echo()
    assert await desk.items() == []
    assert not desk.looks.subscribed.done()
    desk.answering.set()
    assert await desk.items() == [
        Linked(),
        Message("a/1", b"x", retain=True),
        Complete(True, frozenset({"a/1"})),
    ]


async def test_a_look_that_is_refused_in_the_end_is_not_complete(desks: list[Desk]) -> None:
    """The echo of the sync topics came before the answer that refuses the reader's filter."""
    desk = Desk("a", canary=None, turn=asyncio.Lock())
    desks.append(desk)
    desk.refused = ("a",)
    desk.answering.clear()
    await desk.echo()
    desk.answering.set()
    assert await desk.items() == [Lost(REFUSED)]
    assert not desk.retained.looking


async def test_further_topics_are_subscribed_to_before_the_next_complete(desks: list[Desk]) -> None:
    """Without a link they are part of the next SUBSCRIBE."""
    desk = Desk("a/#", canary=None, turn=asyncio.Lock())
    desks.append(desk)
    await desk.echo()
    await desk.echo()
    await desk.items()
    desk.queue.change(["b"], [])
    await settle()
    assert desk.sent[-1] == ("b",)
    desk.hear("b")
    await desk.echo()
    desk.task.cancel()
    await asyncio.wait([desk.task])
    desk.queue.change(["c"], ["b"])
    assert desk.retained.filters == ("c", "a/#", OWN)
