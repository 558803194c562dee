"""The feed of ``cascade watch``, from the items of a watch: without a broker."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import pytest
from cli_modules import Feed, feeds

from cascade.cli import CommandError
from cascade.cli.snapshot import read_view
from cascade.interfaces.topics import constraint_topic, status_topic
from cascade.interfaces.watch import Complete, Linked, Lost, Message, WatchItem

PAUSE = constraint_topic("global", "pause")


class Stream:
    """A watch whose items the test gives."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[WatchItem] = asyncio.Queue()
        self.closed = False

    def watch(self, *filters: str) -> Any:
        return self

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> WatchItem:
        return await self.items.get()

    async def aclose(self) -> None:
        self.closed = True

    async def give(self, *items: WatchItem) -> None:
        for item in items:
            self.items.put_nowait(item)
        while not self.items.empty():
            await asyncio.sleep(0)
        await asyncio.sleep(0)


def complete(topics: Iterable[str]) -> Complete:
    """The end of the retained messages."""
    return Complete(proved=True, topics=frozenset(topics))


async def test_engines_of_which_only_events_come_are_named_once_all_retained_messages_have_arrived() -> None:
    """Before that, a birth may be on the way."""
    stream: Any = Stream()
    feed = Feed(stream)
    ticks = feed.ticks()
    first = asyncio.ensure_future(anext(ticks))
    event = b'{"run_id": "r", "source": "nats-1", "seq": 0, "token": "t", "body": {"type": "TaskStateEvent"}}'
    await stream.give(Linked(), Message("cascade/telemetry/local/default/r/events", event, retain=False))
    long_after = time.monotonic() + 60
    assert feed.without_state(long_after) == []
    await stream.give(complete([]))
    await first
    assert feed.without_state(long_after) == ["nats-1"]
    await stream.give(Message(status_topic("nats-1"), b'{"status": "online", "session": "s"}', retain=False))
    assert feed.without_state(long_after) == []
    await ticks.aclose()


async def test_the_feed_follows_the_link_and_forgets_what_was_cleared_meanwhile() -> None:
    """A clear that is published while the link is down leaves no message behind."""
    stream: Any = Stream()
    feed = Feed(stream)
    ticks = feed.ticks()
    first = asyncio.ensure_future(anext(ticks))
    await stream.give(Linked(), Message(PAUSE, b'{"type": "pause"}', retain=True), complete([PAUSE]))
    await first
    assert (feed.lost_since, feed.complete, list(feed.view.registers)) == (None, True, [PAUSE])
    await stream.give(Lost("the link is down"))
    assert feed.lost_since is not None
    assert (feed.problem, list(feed.view.registers)) == ("the link is down", [PAUSE])
    await stream.give(Linked(), complete([]))
    state: tuple[float | None, list[str]] = (feed.lost_since, list(feed.view.registers))
    assert state == (None, [])
    await ticks.aclose()
    assert stream.closed


async def test_engines_that_a_lost_store_has_taken_are_forgotten_unless_they_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row 48: one that lives publishes its birth again; of one that has died nobody would ever say that it is offline."""
    stream: Any = Stream()
    feed = Feed(stream)
    ticks = feed.ticks()
    first = asyncio.ensure_future(anext(ticks))
    birth = b'{"status": "online", "session": "s"}'
    dead, alive = status_topic("dead"), status_topic("alive")
    await stream.give(Linked(), *(Message(topic, birth, retain=True) for topic in (dead, alive)))
    await stream.give(Message(PAUSE, b'{"type": "pause"}', retain=True), complete([dead, alive, PAUSE]))
    await first
    await stream.give(Lost("the link is down"), Linked(), complete([]))
    await stream.give(Message(alive, birth, retain=False))
    await anext(ticks)
    assert (set(feed.view.engines), feed.gone) == ({"dead", "alive"}, {PAUSE})
    monkeypatch.setattr(feeds, "FORGET_SECONDS", 0.0)
    await anext(ticks)
    assert set(feed.view.engines) == {"alive"}
    await ticks.aclose()


async def test_a_broker_that_does_not_answer_the_subscription_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Instead of an empty screen for ever."""
    monkeypatch.setattr(feeds, "SUBSCRIBE_SECONDS", 0.05)
    stream: Any = Stream()
    with pytest.raises(CommandError, match="does not answer a subscription"):
        await anext(Feed(stream).ticks())


async def test_a_link_that_is_cut_at_the_first_look_names_the_missing_rules() -> None:
    """As mosquitto 2.0.11 does to a user who may only read; a watch would connect again for ever."""
    for read in (feed_once, snapshot):
        stream: Any = Stream()
        reading = asyncio.ensure_future(read(stream))
        await stream.give(Linked(), Lost("the link is down"))
        with pytest.raises(CommandError, match="topic readwrite cascade/sync/#") as raised:
            await reading
        assert raised.value.code == 3


async def feed_once(stream: Any) -> None:
    """Watch until the first picture."""
    async for _ in Feed(stream).ticks():
        pass


async def snapshot(stream: Any) -> None:
    """Read what the broker retains."""
    await read_view(stream, PAUSE)
