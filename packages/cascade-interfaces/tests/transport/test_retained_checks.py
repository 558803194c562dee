"""The checks of watches on one link, with packets that only write down what is sent."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from leaping_loop import leaping

from cascade.interfaces.topics import canary_topic
from cascade.interfaces.watch import Complete, Linked, Lost
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage
from cascade.transport.incoming.watches import REFUSED, WatchQueue
from cascade.transport.retained_proof.checks import RetainedChecks
from cascade.transport.retained_proof.known_topics import Canary
from cascade.transport.retained_proof.retained_set import (
    WITHHELD,
    RetainedSet,
    Unproved,
)

SOURCE = "s"
OWN = f"cascade/sync/{SOURCE}/+"


class Desk:
    """One watch whose broker is the test."""

    def __init__(self, topic_filter: str = "a/#", *, canary: Canary | None, lock: asyncio.Lock) -> None:
        numbers = itertools.count()
        self.retained = RetainedSet(
            (topic_filter,),
            source=SOURCE,
            canary=canary,
            new_nonce=lambda: f"{topic_filter[0]}{next(numbers)}",
        )
        self.queue = WatchQueue((), DeliveryCounts(logging.getLogger("cascade")), retained=self.retained)
        self.sent: list[tuple[str, ...]] = []
        self.published: list[str] = []
        self.refused: tuple[str, ...] = ()
        self.answering = asyncio.Event()
        """Whether the broker answers SUBSCRIBE."""
        self.answering.set()
        self.linked = True
        """Whether an answer can come."""
        self.reports: list[object] = []
        self.checks = RetainedChecks(self.queue, self.retained, self, lock=lock, report=self.reports.append)
        self.task = asyncio.create_task(self.checks.run())

    async def left(self, filters: Sequence[str]) -> None: ...

    async def subscribe(self, filters: Sequence[str]) -> Sequence[str] | None:
        self.sent.append(tuple(filters))
        await self.answering.wait()
        return [each for each in filters if each in self.refused] if self.linked else None

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


@asynccontextmanager
async def checking(*filters: str, canary: Canary | None = None) -> AsyncIterator[Desk]:
    """Give a watch whose checks end with the block; for a leaping loop."""
    desk = Desk(*filters, canary=canary, lock=asyncio.Lock())
    await settle()
    try:
        yield desk
    finally:
        desk.task.cancel()
        await asyncio.wait({desk.task})


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


async def test_watches_that_share_a_canary_check_one_after_the_other(desks: list[Desk]) -> None:
    """The second one gets its messages at once, and begins its check when the first one has ended."""
    canary, lock = Canary(), asyncio.Lock()
    desks += [Desk(each, canary=canary, lock=lock) for each in ("a/#", "b/#")]
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


@pytest.mark.parametrize("limit", ["WATCH_MESSAGES", "WATCH_BYTES"])
async def test_what_waits_for_the_answer_is_bounded(
    limit: str, desks: list[Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limits of the queue they are discarded, and the reader learns it."""
    monkeypatch.setattr(f"cascade.transport.incoming.watches.{limit}", 4 if limit == "WATCH_MESSAGES" else 16)
    desk = Desk("a/#", canary=None, lock=asyncio.Lock())
    desks.append(desk)
    desk.answering.clear()
    await settle()
    for _ in range(5):
        desk.hear("a/1", retain=False)
    desk.answering.set()
    assert await desk.items() == [Lost("queue full"), Linked()]


@leaping
async def test_a_withheld_canary_is_reported_with_each_unproved_set() -> None:
    """With what to check; the set is complete as far as it is known."""
    async with checking(canary=Canary()) as desk:
        for _ in range(300):
            await desk.echo()
            await asyncio.sleep(0.1)
            if len(desk.reports) == 2:
                break
        remedy = WITHHELD.remedy.format(source=SOURCE)
        assert desk.reports == [Unproved(WITHHELD.cause, remedy), Complete(False, frozenset())]
        assert SOURCE in remedy
        assert await desk.items() == [Linked(), Complete(False, frozenset())]


@leaping
async def test_a_granted_topic_does_not_hide_that_the_filters_are_refused() -> None:
    """The reader gets ``Linked`` when all of them are granted; a refused topic ends the check of a granted watch."""
    async with checking() as desk:
        desk.refused = ("a/#",)
        desk.checks.check_again()
        await desk.echo()
        await desk.echo()
        await desk.items()
        desk.queue.change(["b"], [])
        await settle()
        assert desk.sent[-1:] == [("b",)]
        assert await desk.items() == []
        desk.refused = ()
        desk.checks.check_again()
        await settle()
        assert await desk.items() == [Linked()]
        desk.refused = ("c",)
        desk.queue.change(["c"], [])
        assert await desk.items() == [Lost(REFUSED)]
        assert not desk.retained.checking
        published = len(desk.published)
        desk.refused = ()
        desk.checks.check_again()
        await settle()
        assert desk.sent[-1:] == [("c", "b", "a/#", OWN)]
        assert len(desk.published) == published + 1
        assert await desk.items() == [Linked()]


@leaping
async def test_topics_that_are_taken_out_are_unsubscribed() -> None:
    """What is new goes first; nothing is sent for a topic that the watch did not have."""
    async with checking() as desk:
        await desk.echo()
        await desk.echo()
        desk.queue.change(["b", "c"], [])
        await settle()
        desk.queue.change(["d"], ["b", "e"])
        await desk.echo()
        assert desk.sent[1:] == [("b", "c"), ("d",), ("unsubscribe", "b")]
        assert (await desk.items())[-1] == Complete(False, frozenset())


@leaping
async def test_a_watch_that_ends_in_a_recheck_names_the_topics_to_leave() -> None:
    """Nothing else is sent."""
    canary = Canary()
    async with checking(canary=canary) as desk:
        for topics in (("a/1", "a/2"), ("a/1",)):
            for topic in (*topics, canary_topic(SOURCE)):
                desk.hear(topic)
            await desk.echo()
            desk.checks.check_again()
            await settle()
        assert desk.sent[2] == ("a/2",)
        sent, published = len(desk.sent), len(desk.published)
        desk.queue.change(["b"], [])
        desk.queue.end()
        assert desk.checks.end() == ["a/2"]
        await asyncio.wait_for(desk.task, 50)
        assert (len(desk.sent), len(desk.published)) == (sent, published)


@leaping
async def test_without_an_answer_nothing_is_known_of_the_subscription() -> None:
    """The link was lost before it: the reader gets no ``Linked``, and nobody waits on for it."""
    desk = Desk(canary=None, lock=asyncio.Lock())
    desk.linked = False
    await settle()
    assert desk.checks.subscribed.done()
    assert await desk.items() == []
    desk.hear("a/1")
    assert await desk.items() == []
    desk.task.cancel()
    await asyncio.wait({desk.task})
    assert await desk.items() == []
