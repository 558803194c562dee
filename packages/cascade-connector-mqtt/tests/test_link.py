"""What one link asks a broker for, and what it makes of the answers: the broker is played in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from cascade.connectors.mqtt import config
from cascade.connectors.mqtt._link import MqttLink
from cascade.connectors.mqtt._reader import DuplicateFilter
from cascade.interfaces import Complete, Linked, Lost, Message
from cascade.interfaces.topics import matches
from cascade.testkit import eventually, time_limit
from cascade.transport.incoming.callbacks import CallbackQueue
from cascade.transport.incoming.dispatcher import Dispatcher
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage
from cascade.transport.incoming.watches import WatchQueue
from cascade.transport.link import LinkParts
from cascade.transport.outbox import Outbox, Outgoing
from cascade.transport.presence import Presence
from cascade.transport.retained_proof.known_topics import Canary
from cascade.transport.retained_proof.retained_set import RetainedSet
from cascade.transport.state_log import StateLog

BOUND = 60.0
Asked = tuple[str, Any]


class Broker:
    """A client port and the broker behind it: its subscriptions, its retained messages, and what it was asked.

    :param copies: whether a message that matches several subscriptions comes for each of them.
    """

    native = None

    def __init__(self, *, copies: bool = False) -> None:
        self.copies, self.can_probe = copies, True
        self.receive_maximum: int | None = None
        self.packet_limit: int | None = None
        self.asked: list[Asked] = []
        self.granted: dict[str, int] = {}
        self.retained: dict[str, bytes] = {}
        self.refused: dict[str, int] = {}
        self.held = asyncio.Event()  # the answer to UNSUBSCRIBE
        self.held.set()
        self._queue: asyncio.Queue[IncomingMessage] = asyncio.Queue()

    def send(self, topic: str, payload: bytes = b"{}") -> None:
        """Deliver a message that another client publishes."""
        found = [each for each in self.granted if matches(each, topic)]
        for _ in found if self.copies else found[:1]:
            self._queue.put_nowait(IncomingMessage(topic, payload))

    async def publish(self, item: Outgoing) -> None:
        self.asked.append(("publish", item.topic))
        self.send(item.topic, item.payload.encode())
        if item.retain:
            self.retained[item.topic] = item.payload.encode()

    async def subscribe(self, filters: str | list[tuple[str, int]], qos: int = 0) -> list[int | None]:
        self.asked.append(("subscribe", (filters, qos) if isinstance(filters, str) else filters))
        pairs = [(filters, qos)] if isinstance(filters, str) else filters
        codes = [self.refused.get(each) for each, _ in pairs]
        for (each, level), code in zip(pairs, codes, strict=True):
            if code is None:
                self.granted[each] = level
                for topic in [found for found in self.retained if matches(each, found)]:
                    self._queue.put_nowait(IncomingMessage(topic, self.retained[topic], retain=True))
        return codes

    async def unsubscribe(self, filters: list[str]) -> None:
        self.asked.append(("unsubscribe", filters))
        await self.held.wait()
        for each in filters:
            self.granted.pop(each, None)

    async def messages(self) -> AsyncIterator[IncomingMessage]:
        while True:
            yield await self._queue.get()

    def arrived(self) -> Iterator[IncomingMessage]:
        while not self._queue.empty():
            yield self._queue.get_nowait()

    def of(self, kind: str) -> list[Any]:
        """Return what was asked of one kind, without the sync topics of probes and checks."""
        return [found for asked, found in self.asked if asked == kind and "cascade/sync" not in str(found)]

    async def unsettled(self) -> list[Any]:
        raise AssertionError("only a link that keeps messages asks")

    async def connect(self, answer_timeout: float) -> None: ...
    def settle(self, packets: object) -> None: ...
    def on_lost(self, callback: Any) -> None: ...
    async def disconnect(self) -> None: ...
    def ignore_answers(self) -> None: ...
    def close(self) -> None: ...
    def close_in_child(self) -> None: ...


class Program:
    """A connector's part of a link: its queues, and what its callbacks got."""

    def __init__(
        self, broker: Broker, *, named: bool = False, settings: dict[str, Any] | None = None
    ) -> None:
        log = logging.getLogger("cascade.connectors.mqtt")
        self.broker, self.got = broker, list[tuple[str, str]]()
        made = config.settings("broker", 1883, settings or {}, known=())
        self.duplicates = DuplicateFilter(lambda: 0.0)
        self.dispatcher = Dispatcher(
            DeliveryCounts(log), filter_added=self.duplicates.add, filter_removed=self.duplicates.remove
        )
        self.canary, self.named, self._nonce = Canary(), named, 0
        self.presence = Presence("press-3", named=named)
        self.presence.begin()
        self.released = asyncio.Event()
        self.released.set()
        parts = LinkParts(
            settings=made,
            outbox=Outbox(max_messages=100, max_bytes=1_000_000),
            dispatcher=self.dispatcher,
            presence=self.presence,
            state=StateLog(log),
            released=self.released,
            first_reports=dict,
            on_settled=lambda: None,
            log=log,
        )
        self._new: Callable[[], MqttLink] = partial(
            MqttLink, broker, parts, settings=made, duplicates=self.duplicates
        )
        self.link = self._new()

    def relink(self) -> None:
        """Begin the next link to a broker that has forgotten the subscriptions."""
        self.broker.granted.clear()
        self.broker.asked.clear()
        self.link = self._new()

    def callback(self, topic_filter: str, qos: int = 0, name: str = "") -> CallbackQueue:
        """Add a callback that notes its topics."""

        async def note(topic: str, _data: dict[str, Any]) -> None:
            self.got.append((name or topic_filter, topic))

        queue = CallbackQueue(topic_filter, note, qos, self.dispatcher.delivery)
        self.dispatcher.add(queue)
        return queue

    def watch(self, *filters: str) -> WatchQueue:
        canary = self.canary if self.named else None
        retained = RetainedSet(filters, source="press-3", canary=canary, new_nonce=self._new_nonce)
        queue = WatchQueue(filters, self.dispatcher.delivery, retained=retained)
        self.dispatcher.add(queue)
        return queue

    def _new_nonce(self) -> str:
        self._nonce += 1
        return f"nonce-{self._nonce}"

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Broker]:
        """Establish the link, read, and stop it."""
        self.link.read()
        await self.link.establish()
        try:
            async with time_limit(BOUND):
                yield self.broker
        finally:
            await self.link.stop()
            for queue in self.dispatcher.callbacks():
                await queue.stop(reason="end")


@pytest.fixture(autouse=True)
def unhurried(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still is not a broker that does not answer."""
    monkeypatch.setattr("cascade.connectors.mqtt._reader.PROBE_TIMEOUT", 60.0)


async def complete(queue: WatchQueue) -> Complete:
    """Read a watch up to the end of its set."""
    while not isinstance(item := await queue.next(), Complete):
        pass
    return item


@pytest.mark.parametrize(
    ("receive_maximum", "keywords", "limit"),
    [(None, {}, 400), (None, {"window": 7}, 7), (3, {}, 3), (3, {"window": 2}, 2), (500, {}, 400)],
)
async def test_no_more_is_in_flight_than_either_side_takes(
    receive_maximum: int | None, keywords: dict[str, int], limit: int
) -> None:
    """The statistics show it, beside the broker's own limits."""
    program = Program(Broker(), settings=keywords)
    program.broker.receive_maximum, program.broker.packet_limit = receive_maximum, 4096
    async with program.up():
        facts = program.link.facts()
        assert facts["window_limit"] == limit
        assert (facts["receive_maximum"], facts["packet_limit"]) == (receive_maximum, 4096)
        assert facts["refused"] == {}


async def test_a_subscription_that_overlaps_waits_until_copies_are_known() -> None:
    """Otherwise the messages that come with its answer would be delivered twice."""
    program = Program(Broker(copies=True))
    program.callback("a/+")
    async with program.up():
        assert program.duplicates.sent is None
        await program.link.subscribe(program.callback("a/b"))
        assert program.duplicates.sent is True


async def test_a_filter_that_one_link_refused_brings_copies_on_the_next_one() -> None:
    """Where it is granted again."""
    program = Program(Broker(copies=True))
    program.callback("a/+")
    program.callback("a/b")
    async with program.up() as broker:
        await eventually(lambda: program.duplicates.sent is True)
        broker.refused["a/+"] = 135
    program.relink()
    async with program.up() as broker:
        for _ in range(2):
            broker.send("a/b")
        await eventually(lambda: len(program.got) == 4)
        assert program.link.refused == {"a/+": 135}
    broker.refused.clear()
    program.relink()
    async with program.up() as broker:
        assert program.link.refused == {}
        broker.send("a/b")
        broker.send("a/c")
        await eventually(lambda: ("a/+", "a/c") in program.got)
        assert len(program.got) == 7


async def test_a_probe_that_is_refused_holds_nothing_back() -> None:
    """All that comes is delivered."""
    program = Program(Broker(copies=True))
    program.broker.refused["cascade/sync/press-3/+"] = 135
    subscribe = program.broker.subscribe

    async def refuse(filters: str | list[tuple[str, int]], qos: int = 0) -> list[int | None]:
        answer = await subscribe(filters, qos)
        return [135 for _ in answer] if "cascade/sync" in str(filters) else answer

    program.broker.subscribe = refuse  # type: ignore[method-assign]
    program.callback("a/+")
    program.callback("a/b")
    async with program.up() as broker:
        assert program.duplicates.sent is None
        broker.send("a/b")
        await eventually(lambda: len(program.got) == 4)


async def test_a_subscription_ends_with_its_last_queue() -> None:
    """Also one that another watch still needs stays; one that was asked for again meanwhile stays."""
    program = Program(Broker())
    one, two, other = program.callback("a"), program.callback("a", name="two"), program.callback("b")
    async with program.up() as broker:
        await program.link.unsubscribe(one, program.dispatcher.remove(one))
        assert broker.of("unsubscribe") == []
        await program.link.unsubscribe(two, program.dispatcher.remove(two))
        assert broker.of("unsubscribe") == [["a"]]
        unused = program.dispatcher.remove(other)
        program.link.unsubscribe_soon(other, unused)
        program.callback("b", name="again")
        for _ in range(5):
            await asyncio.sleep(0)
        assert broker.of("unsubscribe") == [["a"]]
        program.link.unsubscribe_soon(one, [])
        await asyncio.sleep(0)
        assert broker.of("unsubscribe") == [["a"]]
        assert {*broker.granted} == {"b"}
        late = program.callback("c")
        await program.link.subscribe(late)
        program.link.unsubscribe_soon(late, program.dispatcher.remove(late))
        await eventually(lambda: {*broker.granted} == {"b"})
        assert broker.of("unsubscribe") == [["a"], ["c"]]


@pytest.mark.parametrize("again", ["callback", "several", "watch"])
async def test_a_filter_is_subscribed_to_again_only_when_its_unsubscribe_is_answered(again: str) -> None:
    """aedes and mosca take up both packets at the same time, so that the subscription would be lost."""
    program = Program(Broker(), named=True)
    first = program.callback("a")
    async with program.up() as broker:
        broker.held.clear()
        program.link.unsubscribe_soon(first, program.dispatcher.remove(first))
        await eventually(lambda: broker.of("unsubscribe") == [["a"]])
        asked = len(broker.asked)
        if again == "watch":
            program.link.watch_soon(program.watch("a"))
        else:
            queue = program.callback("a")
            work = program.link.subscribe(queue) if again == "callback" else program.link.resubscribe()
            waiting = asyncio.create_task(work)
        for _ in range(5):
            await asyncio.sleep(0)
        assert broker.asked[asked:] == [], (
            "not the echo of a check either, which must follow its subscription"
        )
        broker.held.set()
        await eventually(lambda: "a" in broker.granted and broker.asked[asked:] != [])
        if again != "watch":
            await waiting
        assert "a" in broker.granted


async def test_a_watch_gets_its_set_and_leaves_only_what_callbacks_have(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At the QoS of the callbacks, which the watch had lowered."""
    program = Program(Broker(), named=True)
    program.broker.retained = {"a/x": b"{}", "b": b"{}"}
    program.callback("a/x", 1)
    async with program.up() as broker:
        await eventually(lambda: program.got == [("a/x", "a/x")])
        watch = program.watch("a/x", "b")
        checks = program.link.watch_soon(watch)
        assert checks is not None
        items = [await watch.next() for _ in range(3)]
        assert items[0] == Linked()
        assert sorted(each.topic for each in items[1:] if isinstance(each, Message)) == ["a/x", "b"]
        found = await complete(watch)
        assert (found.proved, found.topics) == (True, frozenset({"a/x", "b"}))
        await program.link.unsubscribe(watch, program.dispatcher.remove(watch))
        await eventually(lambda: broker.granted.get("a/x") == 1 and "b" not in broker.granted)
    assert not caplog.records


async def test_refusals_are_known_by_filter_until_they_are_granted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each is logged once."""
    program = Program(Broker())
    program.broker.refused = {"a": 135, "w": 128}
    program.callback("a")
    program.callback("b")
    async with program.up() as broker:
        assert program.link.refused == {"a": 135}
        watch = program.watch("w", "x")
        program.link.watch_soon(watch)
        while not isinstance(await watch.next(), Lost):
            pass
        assert program.link.refused == {"a": 135, "w": 128}
        await program.link.subscribe(program.callback("a", name="again"))
        broker.refused.clear()
        await program.link.subscribe(program.callback("a", name="more"))
        assert program.link.refused == {"w": 128}
    lines = [each.getMessage() for each in caplog.records]
    assert sum("refuses the subscription to a (code 135)" in line for line in lines) == 1
    assert sum("refuses the subscription to w (code 128)" in line for line in lines) == 1


async def test_equal_retained_messages_all_pass() -> None:
    """A broker sends them for each subscription, whatever it does with live ones."""
    program = Program(Broker(copies=True))
    program.callback("a/+")
    program.callback("a/b")
    program.broker.retained = {"a/b": b"{}"}
    async with program.up():
        await eventually(lambda: len(program.got) == 4)
        assert program.dispatcher.delivery.received >= 2
