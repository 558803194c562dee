"""How one queue follows the bucket: the set, its end, each change, and a new consumer when something is missing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from jetstream import ABSENT, BUCKET, JetStream

from cascade.connectors.nats._client import ApiError
from cascade.connectors.nats._retained import RetainedMessages
from cascade.connectors.nats._store import Store
from cascade.interfaces import Complete, Linked, Message
from cascade.interfaces.subjects import subject_of
from cascade.interfaces.topics import status_topic
from cascade.testkit import eventually, time_limit
from cascade.transport.faults import MessageRejected
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage
from cascade.transport.incoming.watches import WatchQueue
from cascade.transport.presence import UNNAMED_WILL

BOUND = 60.0
CLEARED = b"NATS/1.0\r\nKV-Operation: PURGE\r\n\r\n"
EXPIRED = b"NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\n\r\n"
BEAT = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: %d\r\n\r\n"


class Follower:
    """One watch over a bucket in memory; a test sends what the server's consumer would send."""

    def __init__(self, jetstream: JetStream, store: Store, *filters: str) -> None:
        self.jetstream, self.delivery = jetstream, DeliveryCounts(logging.getLogger("cascade"))
        self.queue = WatchQueue(filters, self.delivery)
        self.retained = RetainedMessages(
            self.queue, store=store, delivery=self.delivery, changed=lambda *_: None
        )
        self._sent = 0

    async def consumer(self, count: int) -> None:
        """Wait until so many consumers were made, and only the latest is listened to."""
        await eventually(lambda: len(self.jetstream.consumers()) == count, BOUND)
        await eventually(self.retained.feed.granted.done, BOUND)
        assert [*self.jetstream.inboxes] == [self.jetstream.consumers()[-1]["deliver_subject"]]
        self._sent = 0

    def send(
        self, key: str, data: bytes = b"1", headers: bytes | None = None, *, left: int = 0, position: int = 0
    ) -> None:
        """Send the value of a key, which has its number, its position in the bucket and how many follow."""
        self._sent += 1
        reply = f"$JS.ACK.{BUCKET}.name.1.{position or self._sent}.{self._sent}.1700.{left}"
        self.hear(f"$KV.cascade.{key}", reply, data, headers)

    def hear(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        (handler,) = self.jetstream.inboxes.values()
        handler(subject, reply, data, headers)

    def lose(self) -> None:
        """Lose one message on the way."""
        self._sent += 1

    async def next(self, kind: type) -> object:
        """Return the next item, which is of a kind."""
        async with time_limit(BOUND):
            item = await self.queue.next()
        assert isinstance(item, kind), item
        return item

    async def message(self) -> tuple[str, bytes, bool]:
        item = await self.next(Message)
        assert isinstance(item, Message)
        return item.topic, item.payload, item.retain

    async def complete(self) -> set[str]:
        """Return the topics of the set that has arrived."""
        item = await self.next(Complete)
        assert isinstance(item, Complete)
        assert item.proved
        assert item.topics is not None
        return {*item.topics}


@pytest.fixture
async def jetstream(monkeypatch: pytest.MonkeyPatch) -> JetStream:
    """A server with bucket and stream; nothing is taken for silence because the machine stands still."""
    monkeypatch.setattr("cascade.connectors.nats._store.STORE_TIMEOUT", 600.0)
    monkeypatch.setattr("cascade.connectors.nats._retained.PAUSE", 0.0)
    monkeypatch.setattr("cascade.connectors.nats._retained.SILENCE", 600.0)
    monkeypatch.setattr("cascade.connectors.nats._consumer.SILENCE", 600.0)
    monkeypatch.setattr("cascade.connectors.nats._retained.INTERVAL", 600.0)
    return JetStream()


@asynccontextmanager
async def following(
    jetstream: JetStream, *filters: str, pending: int = 1, usable: bool = True
) -> AsyncIterator[Follower]:
    store = jetstream.store()
    if usable:
        await store.open()
    jetstream.pending = pending
    follower = Follower(jetstream, store, *filters)
    running = asyncio.create_task(follower.retained.run())
    try:
        if usable:
            await follower.consumer(1)
        yield follower
    finally:
        running.cancel()
        await asyncio.wait({running})
    assert jetstream.inboxes == {}
    assert follower.queue.watch_link is None


async def test_a_server_of_a_domain_numbers_its_messages_behind_two_more_words(jetstream: JetStream) -> None:
    """And may put a word behind them."""
    async with following(jetstream, "a/#") as follower:
        await follower.next(Linked)
        for number, left in ((1, 1), (2, 0)):
            reply = f"$JS.ACK.hub.hash.{BUCKET}.name.1.{40 + number}.{number}.1700.{left}.x"
            follower.hear(f"$KV.cascade.a.{number}", reply, b"1", None)
        assert [await follower.message() for _ in range(2)] == [("a/1", b"1", True), ("a/2", b"1", True)]
        assert await follower.complete() == {"a/1", "a/2"}


@pytest.mark.parametrize("sign", ["message", "heartbeat"])
async def test_a_lost_message_has_the_set_sent_anew(jetstream: JetStream, sign: str) -> None:
    """By another consumer, to another inbox; what came behind the gap is in that set."""
    async with following(jetstream, "a/#") as follower:
        await follower.next(Linked)
        follower.send("a.x")
        await follower.message()
        assert await follower.complete() == {"a/x"}
        follower.lose()
        if sign == "message":
            follower.send("a.x", b"2")
        else:
            follower.hear("inbox", "", b"", BEAT % 2)
        await follower.consumer(2)
        follower.send("a.x", b"2")
        assert await follower.message() == ("a/x", b"2", True)
        assert await follower.complete() == {"a/x"}


async def test_flow_control_is_answered(jetstream: JetStream) -> None:
    """The server sends nothing more until it is; a heartbeat asks for it where the request was lost."""
    async with following(jetstream, "a/#") as follower:
        follower.hear("inbox", "$JS.FC.1", b"", b"NATS/1.0 100 FlowControl Request\r\n\r\n")
        stalled = (
            b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 0\r\nNats-Consumer-Stalled: $JS.FC.2\r\n\r\n"
        )
        follower.hear("inbox", "", b"", stalled)
        assert jetstream.written == [("$JS.FC.1", b""), ("$JS.FC.2", b"")]
        assert len(jetstream.consumers()) == 1


async def test_what_expires_is_cleared_and_a_process_that_expires_is_offline(jetstream: JetStream) -> None:
    """The status of a process gets the payload of a will; in the first set, too."""
    status = status_topic("press-3")
    key, gone = subject_of(status), status_topic("press-4")
    async with following(jetstream, "a/#", "cascade/status/+") as follower:
        await follower.next(Linked)
        follower.send(subject_of(gone), b"", EXPIRED, left=1)
        follower.send(key, b'{"status": "online"}')
        assert await follower.message() == (gone, UNNAMED_WILL.encode(), True)
        assert await follower.message() == (status, b'{"status": "online"}', True)
        await follower.complete()
        follower.send(key, b"", EXPIRED)
        follower.send("a.x", b"", EXPIRED)
        assert await follower.message() == (status, UNNAMED_WILL.encode(), False)
        assert await follower.message() == ("a/x", b"", False)
        follower.send(key, b"", CLEARED)
        assert await follower.message() == (status, b"", False)


async def test_an_unnamed_process_is_seen_only_when_it_goes(jetstream: JetStream) -> None:
    """Its key is no topic: neither what it holds nor one that had expired before is for a reader."""
    key, status = f"{subject_of(status_topic('host-7'))}.=will", status_topic("host-7")
    async with following(jetstream, "cascade/status/+") as follower:
        await follower.next(Linked)
        follower.send(key, b"", EXPIRED, left=1)
        follower.send(key, b"1")
        assert await follower.complete() == set()
        follower.send(key, b"1")
        follower.send(key, b"", CLEARED)
        follower.send(key, b"", EXPIRED)
        assert await follower.message() == (status, UNNAMED_WILL.encode(), False)
    assert jetstream.consumers()[0]["filter_subjects"] == [
        "$KV.cascade.cascade.status.*",
        "$KV.cascade.cascade.status.*.>",
    ]


async def test_keys_that_no_filter_matches_are_passed_over(jetstream: JetStream) -> None:
    """And the end of the set is seen although its last key is one of them; one that is no topic is counted."""
    async with following(jetstream, "cascade/status/+") as follower:
        await follower.next(Linked)
        follower.send("cascade.status.a.b", left=1)
        follower.send("cascade.status.=FF")
        assert await follower.complete() == set()
    assert follower.delivery.discarded == {"undecodable": 1}


@pytest.mark.parametrize(
    "error", [ApiError(ABSENT), MessageRejected(403), TimeoutError()], ids=["absent", "rights", "silent"]
)
async def test_a_bucket_that_cannot_be_followed_is_looked_for_and_live_messages_go_on(
    jetstream: JetStream, error: Exception
) -> None:
    """What waited for the set is delivered; as soon as there is a bucket again its set comes."""
    create = f"$JS.API.CONSUMER.CREATE.{BUCKET}"
    jetstream.errors[create] = error
    jetstream.errors["$JS.API.STREAM.INFO"] = MessageRejected(403)
    store = jetstream.store()
    store.problem = None
    follower = Follower(jetstream, store, "a/#")
    follower.retained.feed.live(IncomingMessage("a/x", b"live"))
    running = asyncio.create_task(follower.retained.run())
    await follower.next(Linked)
    assert await follower.message() == ("a/x", b"live", False)
    await eventually(lambda: not store.usable, BOUND)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(jetstream.consumers()) == 1  # it waits until there is a bucket
    jetstream.errors.clear()
    jetstream.pending = 1
    await store.open()
    await eventually(lambda: len(jetstream.consumers()) == 2 and jetstream.inboxes, BOUND)
    await asyncio.sleep(0)
    follower.send("a.x", b"kept")
    assert await follower.message() == ("a/x", b"kept", True)
    assert await follower.complete() == {"a/x"}
    running.cancel()
    await asyncio.wait({running})


async def test_a_new_bucket_is_not_the_old_one(jetstream: JetStream) -> None:
    """What the old one held is reported as forgotten, never as cleared."""
    async with following(jetstream, "a/#") as follower:
        await follower.next(Linked)
        follower.send("a.x")
        await follower.message()
        await follower.complete()
        jetstream.streams[BUCKET]["created"] = "2026-02-02"
        await follower.retained._store.open()
        jetstream.pending = 0
        follower.retained.feed.check_again()
        item = await follower.next(Complete)
        assert isinstance(item, Complete)
        assert (item.topics, item.forgotten) == (frozenset({"a/x"}), frozenset({"a/x"}))
