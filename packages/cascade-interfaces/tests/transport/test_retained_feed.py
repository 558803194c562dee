"""What a queue gets of a network that marks the end of its retained messages."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from cascade.interfaces.topics import status_topic
from cascade.interfaces.watch import Complete, Linked, Message, WatchItem
from cascade.transport.incoming.callbacks import CallbackQueue
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage
from cascade.transport.incoming.retained_feed import RetainedFeed
from cascade.transport.incoming.watches import WatchQueue


class Reader:
    """A watch with its feed, and the positions from which it wanted the set anew."""

    def __init__(self, *filters: str, follows: bool = True) -> None:
        self.renewed: list[int] = []
        self.queue = WatchQueue(filters, DeliveryCounts(logging.getLogger(__name__)))
        self.feed = RetainedFeed(self.queue, renew=self.renewed.append, follows=follows)
        self.feed.begin()

    async def items(self, count: int) -> list[WatchItem | None]:
        async with asyncio.timeout(60):
            return [await self.queue.next() for _ in range(count)]


async def test_a_set_that_is_sent_anew_brings_only_what_is_new() -> None:
    """The queue has the messages up to the position from which it is asked for."""
    reader = Reader("a/#")
    reader.feed.entry("a/1", b"1", 7)
    reader.feed.finish()
    await reader.items(3)
    reader.feed.begin(7)
    reader.feed.entry("a/1", b"1", 7)
    reader.feed.entry("a/2", b"2", 8)
    reader.feed.finish()
    assert await reader.items(2) == [
        Message("a/2", b"2", True),
        Complete(True, frozenset({"a/1", "a/2"})),
    ]


async def test_what_went_with_a_store_is_forgotten_and_not_cleared() -> None:
    """Until its topic has a message again, on the next link too."""
    reader = Reader("a/#")
    reader.feed.entry("a/1", b"1")
    reader.feed.finish("first")
    later = RetainedFeed(reader.queue, renew=reader.renewed.append)
    later.begin()
    later.grant()
    later.finish("second")
    await reader.items(3)
    assert await reader.items(2) == [
        Linked(),
        Complete(True, frozenset({"a/1"}), frozenset({"a/1"})),
    ]
    later.entry("a/1", b"2")
    assert reader.queue.known.forgotten == set()


async def test_a_birth_that_is_renewed_is_no_news() -> None:
    """Its offline message is."""
    topic = status_topic("s")
    reader = Reader(topic)
    reader.feed.entry(topic, b"online")
    reader.feed.finish()
    reader.feed.entry(topic, b"online")
    reader.feed.entry(topic, b"offline")
    items = await reader.items(4)
    assert items[-1] == Message(topic, b"offline", False)


async def test_further_topics_need_a_set_unless_a_filter_covers_them() -> None:
    """A network that does not send changes of retained messages as such begins anew in any case."""
    for follows, wanted in ((True, [5]), (False, [0, 0])):
        reader = Reader("a/+", follows=follows)
        reader.feed.entry("a/1", b"1", 5)
        reader.feed.finish()
        reader.queue.filters["a/2"] = 0
        reader.queue.change(["a/2"], [])
        reader.queue.filters["b"] = 0
        reader.queue.change(["b"], [])
        assert reader.renewed == wanted


async def test_a_removed_topic_leaves_the_set_unless_a_filter_covers_it() -> None:
    """Whether it is removed behind the set or before its end, and whether its message was forgotten."""
    for late in (False, True):
        for filters, left in ((("a/1", "b"), {"b"}), (("a/1", "a/#", "b"), {"a/1", "b"})):
            reader = Reader(*filters)
            for topic in ("a/1", "b"):
                reader.feed.entry(topic, b"1")
            if late:
                reader.feed.finish("first")
            del reader.queue.filters["a/1"]
            reader.queue.change([], ["a/1"])
            if late:
                reader.feed.begin()
                reader.feed.entry("c", b"1")
            reader.feed.finish("second")
            complete = (await reader.items(3 + 1 + 2 * late))[-1]
            assert isinstance(complete, Complete)
            assert {*(complete.topics or ())} == left | ({"c"} if late else set())
            assert complete.forgotten == (left if late else set())


async def test_a_feed_ends_with_its_link() -> None:
    """Nothing is asked of a link that is gone; that of the next one stays."""
    reader = Reader("a")
    later = RetainedFeed(reader.queue, renew=reader.renewed.append)
    reader.feed.close()
    assert reader.queue.watch_link is later
    later.close()
    assert reader.queue.watch_link is None


async def test_a_set_without_its_end_is_not_complete_for_an_added_topic() -> None:
    """Its end comes later, and once."""
    reader = Reader("a/+")
    reader.feed.entry("a/1", b"1", 5)
    reader.queue.filters["a/2"] = 0
    reader.queue.change(["a/2"], [])
    reader.feed.entry("a/2", b"2", 6)
    reader.feed.finish()
    assert [type(item) for item in await reader.items(4)] == [Linked, Message, Message, Complete]


async def test_what_holds_nothing_is_no_message_of_the_set_but_news_behind_it() -> None:
    """A topic that is cleared leaves the set, and that with the next link too."""
    reader = Reader("a/#")
    reader.feed.entry("a/1", b"1", 1)
    reader.feed.entry("a/2", b"", 2)
    reader.feed.entry("a/3", b"3", 3)
    reader.feed.entry("a/3", b"", 4)
    reader.feed.finish("one")
    reader.feed.entry("a/1", b"", 5)
    reader.feed.entry("a/4", b"4", 6)
    assert await reader.items(6) == [
        Linked(),
        Message("a/1", b"1", True),
        Message("a/3", b"3", True),
        Complete(True, frozenset({"a/1"})),
        Message("a/1", b"", False),
        Message("a/4", b"4", False),
    ]
    later = RetainedFeed(reader.queue, renew=reader.renewed.append)
    later.begin()
    later.finish("another")
    assert await reader.items(1) == [Complete(True, frozenset({"a/4"}), frozenset({"a/4"}))]


async def test_live_messages_that_wait_for_a_set_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much comes at once; behind the first set nothing waits, also while a later one is sent."""
    monkeypatch.setattr("cascade.transport.incoming.retained_feed.WATCH_MESSAGES", 2)
    reader = Reader("a")
    for data in (b"1", b"2", b"3"):
        reader.feed.live(IncomingMessage("a", data))
    reader.feed.entry("a", b"kept")
    reader.feed.finish()
    reader.feed.begin(1)
    reader.feed.live(IncomingMessage("a", b"4"))
    payloads = [each.payload for each in await reader.items(7) if isinstance(each, Message)]
    assert payloads == [b"3", b"kept", b"1", b"2", b"4"]


async def test_a_callback_gets_the_set_and_what_is_live_behind_it() -> None:
    """In the same order; it has no state of a link to learn of."""
    calls: list[tuple[str, Any]] = []

    async def callback(topic: str, data: dict[str, Any]) -> None:
        calls.append((topic, data))

    queue = CallbackQueue("a/#", callback, 0, DeliveryCounts(logging.getLogger(__name__)))
    feed = RetainedFeed(queue, renew=lambda position: None)
    feed.begin()
    feed.live(IncomingMessage("a/live", b"{}"))
    feed.entry("a/1", b'{"n": 1}')
    feed.finish()
    feed.entry("a/1", b"", 2)
    feed.close()
    async with asyncio.timeout(60):
        await queue.idle()
    assert calls == [("a/1", {"n": 1}), ("a/live", {}), ("a/1", {})]
    await queue.stop(reason="end")
