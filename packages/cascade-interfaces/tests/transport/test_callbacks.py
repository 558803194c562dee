"""Callbacks and watches of a connector on a network in memory: what they get, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from leaping_loop import leaping
from network_in_memory import MemoryConnector, Peer, connected, now, other_tasks, until

from cascade.interfaces.errors import InvalidTopicError
from cascade.interfaces.watch import Linked, Message
from cascade.transport.incoming.dispatcher import Dispatcher
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage
from cascade.transport.incoming.watches import WatchQueue


class Reader:
    """A callback that writes down what it gets, and does for each message what a test says."""

    def __init__(self, act: Callable[[int], Any] = lambda n: None) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self._act = act

    async def __call__(self, topic: str, data: dict[str, Any]) -> None:
        self.got.append((topic, data))
        result = self._act(data.get("n", -1))
        if result is not None:
            await result

    @property
    def numbers(self) -> list[int]:
        return [data["n"] for _, data in self.got]


def deliver(peer: Peer, topic: str, *numbers: int) -> None:
    for n in numbers:
        peer.client.deliver(topic, f'{{"n": {n}}}')


@leaping
async def test_a_callback_may_be_a_plain_function() -> None:
    """Nothing is awaited then."""
    peer = Peer()
    got = list[str]()
    async with MemoryConnector(peer) as connector:
        await connector.subscribe("a", lambda topic, data: got.append(topic))  # type: ignore[arg-type, return-value]
        deliver(peer, "a", 1, 2)
        await until(lambda: len(got) == 2)


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()], ids=["raises", "cancelled"])
@leaping
async def test_what_a_callback_raises_is_logged_once_and_costs_one_call(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback; other callbacks and later messages are not concerned."""
    peer = Peer()

    def fail(n: int) -> None:
        if n < 3:
            raise error

    async with MemoryConnector(peer) as connector:
        failing, other = Reader(fail), Reader()
        await connector.subscribe("a", failing)
        await connector.subscribe("a", other)
        deliver(peer, "a", 1, 2, 3)
        await until(lambda: len(failing.got) == len(other.got) == 3)
        (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
        assert record.getMessage().startswith("subscription to a: the callback raised ")
        assert record.getMessage().endswith("; other ones go on")
        if isinstance(error, ValueError):
            assert record.exc_info is not None
            assert record.exc_info[1] is error


@pytest.mark.parametrize("expected", [None, 5])
@leaping
async def test_a_slow_callback_misses_the_oldest_messages(
    expected: int | None, monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    """They are counted and logged once; a connector whose program expects a backlog keeps more of them."""
    monkeypatch.setattr("cascade.transport.incoming.callbacks.CALLBACK_MESSAGES", 3)
    peer, going = Peer(), asyncio.Event()
    async with MemoryConnector(peer) as connector:
        if expected:
            connector.expect_backlog(expected)
        slow = Reader(lambda n: going.wait())
        await connector.subscribe("a", slow)
        deliver(peer, "a", 0)
        await until(lambda: slow.got)
        deliver(peer, "a", *range(1, 11))
        going.set()
        await until(lambda: slow.numbers[-1] == 10)
        kept = expected or 3
        assert slow.numbers == [0, *range(11 - kept, 11)]
        assert connector.statistics().discarded == {"queue full": 10 - kept}
        assert warnings() == ["subscription to a: the callback is too slow; the oldest messages are dropped"]


@leaping
async def test_what_is_not_json_is_counted_for_each_callback_and_logged_with_its_topic(
    warnings: Callable[[], list[str]],
) -> None:
    """A watch gets it as it is."""
    peer = Peer()
    async with MemoryConnector(peer) as connector:
        readers = [Reader(), Reader()]
        for reader in readers:
            await connector.subscribe("a/+", reader)
        watch = connector.watch("a/+")
        assert await anext(watch) == Linked()
        for text in ("{", "[1]"):
            peer.client.deliver("a/bad", text)
        deliver(peer, "a/good", 1)
        await until(lambda: all(reader.got for reader in readers))
        assert [reader.numbers for reader in readers] == [[1], [1]]
        assert connector.statistics().discarded == {"undecodable": 4}
        assert len(warnings()) == 2
        assert all(
            each.startswith("subscription to a/+: messages on a/bad are discarded: ") for each in warnings()
        )
        items = [await anext(watch) for _ in range(3)]
        assert [each.payload for each in items if isinstance(each, Message)] == [b"{", b"[1]", b'{"n": 1}']


@leaping
async def test_an_unsubscribed_callback_ends_the_call_in_progress_and_gets_no_other() -> None:
    """What waited for it is dropped; the end of the connector cancels the call if it goes on until then."""
    peer, cancelled = Peer(), list[int]()

    async def stay(n: int) -> None:
        try:
            await asyncio.sleep(5.0)
        except asyncio.CancelledError:
            cancelled.append(n)
            raise

    connector = await connected(peer)
    one, other = Reader(stay), Reader(stay)
    first, second = await connector.subscribe("a", one), await connector.subscribe("b", other)
    assert repr(first) == "<CallbackSubscription a>"
    deliver(peer, "a", 1, 2)
    await until(lambda: one.got)
    await first.unsubscribe()
    await first.unsubscribe()
    deliver(peer, "a", 3)
    await asyncio.sleep(6.0)
    assert (one.numbers, cancelled) == ([1], [])
    deliver(peer, "b", 4, 5)
    await until(lambda: other.got)
    await second.unsubscribe()
    began = now()
    await connector.disconnect()
    assert (other.numbers, cancelled) == ([4], [4])
    assert now() - began < 1.0
    assert not other_tasks()


@leaping
async def test_messages_that_no_callback_has_taken_are_counted_at_the_end(
    warnings: Callable[[], list[str]],
) -> None:
    """A callback that ignores its cancellation is abandoned after half a second, with a warning; the next session can call it again."""
    peer, going = Peer(), asyncio.Event()

    async def ignore_cancel(n: int) -> None:
        while not going.is_set():
            try:
                await going.wait()
            except asyncio.CancelledError:
                continue

    connector = await connected(peer)
    reader = Reader(ignore_cancel)
    await connector.subscribe("a", reader)
    deliver(peer, "a", 1, 2, 3)
    await until(lambda: reader.got)
    began = now()
    await connector.disconnect()
    assert now() - began == pytest.approx(0.5)
    assert connector.statistics().discarded == {"waiting at disconnect": 2}
    assert warnings() == ["the callback for a ignores its cancellation and is abandoned"]
    going.set()
    await connector.connect()
    await asyncio.sleep(1.0)
    deliver(peer, "a", 4)
    await until(lambda: reader.numbers == [1, 4])
    await connector.disconnect()
    assert not other_tasks()


@leaping
async def test_topics_join_and_leave_a_watch() -> None:
    """Only topics can; a watch that is closed takes none, and ends for its reader."""
    peer = Peer()
    async with MemoryConnector(peer) as connector:
        watch = connector.watch("a")
        assert await anext(watch) == Linked()
        for change in (watch.extend, watch.shrink):
            with pytest.raises(InvalidTopicError):
                change("b", "c/#")
        watch.extend("b", "b")
        deliver(peer, "b", 1)
        watch.shrink("b", "other")
        deliver(peer, "b", 2)
        deliver(peer, "a", 3)
        read = [await anext(watch) for _ in range(2)]
        assert [each.payload for each in read if isinstance(each, Message)] == [b'{"n": 1}', b'{"n": 3}']
        reading = asyncio.ensure_future(anext(watch, None))
        await asyncio.sleep(0)
        await watch.aclose()
        await watch.aclose()
        assert await reading is None
        assert [item async for item in watch] == []
        watch.extend("c")
        assert len(peer.calls("unsubscribe")) == 1


class Early:
    """A dispatcher at the beginning of a session, with a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr("cascade.transport.incoming.dispatcher.time", clock)
        self.delivery = DeliveryCounts(logging.getLogger("cascade.test.early"))
        self.dispatcher = Dispatcher(self.delivery)

    def arrive(self, *topics: str) -> None:
        for topic in topics:
            self.dispatcher.dispatch(IncomingMessage(topic, b"{}"))

    async def topics(self, *filters: str) -> list[str]:
        """Return the topics that a new watch finds, and end it."""
        queue = WatchQueue(filters, self.delivery)
        self.dispatcher.add(queue)
        self.dispatcher.remove(queue)
        queue.note(Linked())
        found = list[str]()
        while isinstance(item := await queue.next(), Message):
            found.append(item.topic)
        return found


async def test_early_messages_wait_for_the_first_subscription_that_matches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once, in their order; those that match none wait for the next one."""
    early = Early(monkeypatch)
    early.arrive("a/0")
    assert await early.topics("a/#") == []
    early.dispatcher.begin()
    early.arrive("a/1", "b/1", "a/2")
    assert await early.topics("a/+") == ["a/1", "a/2"]
    assert await early.topics("a/1", "b/1") == ["b/1"]
    early.arrive(*(f"c/{n}" for n in range(1_010)))
    assert await early.topics("c/#") == [f"c/{n}" for n in range(10, 1_010)]


@pytest.mark.parametrize("how", ["late message", "late subscription", "stop"])
async def test_early_messages_are_not_kept_for_long(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a second of the session."""
    early = Early(monkeypatch)
    early.dispatcher.begin()
    early.now += 0.9
    if how != "late message":
        early.arrive("a")
    if how == "stop":
        await early.dispatcher.stop()
    else:
        early.now += 0.2
    if how == "late message":
        early.arrive("a")
    assert await early.topics("a") == []
