"""How a reader asks the stream for telemetry that the server keeps."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from jetstream import JetStream

from cascade.connectors.nats._consumer import SILENCE
from cascade.connectors.nats._kept import BATCH, Keeping, KeptTelemetry
from cascade.testkit import eventually
from cascade.transport.faults import MessageRejected
from cascade.transport.incoming.callbacks import CallbackQueue
from cascade.transport.incoming.message import DeliveryCounts


class Reader:
    """One callback at QoS 1 whose telemetry the stream keeps; a test sends what the server would send."""

    def __init__(self, jetstream: JetStream, topic_filter: str = "cascade/telemetry/#") -> None:
        self.jetstream, self.got = jetstream, list[str]()
        self.stored, self.stores = asyncio.Event(), 0
        self.stored.set()
        self.delivery = DeliveryCounts(logging.getLogger(__name__))
        self.queue = CallbackQueue(topic_filter, self.note, 1, self.delivery)
        self.kept = KeptTelemetry(
            self.queue, Keeping("box 1", self.store), store=jetstream.store(), delivery=self.delivery
        )

    async def note(self, topic: str, data: dict[str, Any]) -> None:
        self.got.append(topic)

    async def store(self) -> None:
        self.stores += 1
        await self.stored.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Reader]:
        running = asyncio.create_task(self.kept.run())
        try:
            await self.asked(1)
            yield self
        finally:
            running.cancel()
            await asyncio.wait({running})
            await self.queue.stop(reason="end")
        assert self.jetstream.inboxes == {}

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests for messages, each with the subject for the answers."""
        found = zip(self.jetstream.written, self.jetstream.replies, strict=True)
        return [{**json.loads(data), "reply": reply} for (_, data), reply in found if data != b"+ACK"]

    def acknowledged(self) -> list[str]:
        return [subject for subject, data in self.jetstream.written if data == b"+ACK"]

    async def asked(self, count: int) -> None:
        await eventually(lambda: len(self.requests()) == count)

    def hear(self, subject: str, reply: str = "", headers: bytes | None = None) -> None:
        (handler,) = self.jetstream.inboxes.values()
        handler(subject, reply, b"{}", headers)


@pytest.fixture
async def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setattr("cascade.connectors.nats._consumer.SILENCE", 600.0)
    return Reader(JetStream())


async def test_a_message_is_acknowledged_when_it_is_stored(reader: Reader) -> None:
    """Each by itself, in order; not when its callback has only begun."""
    reader.stored.clear()
    async with reader.running():
        reader.hear("cascade.telemetry.a", "reply.1")
        reader.hear("cascade.telemetry.b", "reply.2")
        await eventually(lambda: reader.stores == 1)
        assert reader.got == ["cascade/telemetry/a", "cascade/telemetry/b"]
        reader.hear("cascade.telemetry.c", "reply.3")
        assert reader.acknowledged() == []
        reader.stored.set()
        await eventually(lambda: len(reader.acknowledged()) == 3)
        assert reader.acknowledged() == ["reply.1", "reply.2", "reply.3"]
        assert reader.stores == 2
    assert len(reader.requests()) == 1
    assert reader.delivery.received == 3


async def test_a_message_that_is_no_topic_is_acknowledged_too(reader: Reader) -> None:
    """Otherwise the server would send it for ever."""
    async with reader.running():
        reader.hear("cascade.telemetry.=FF", "reply.1")
        await eventually(lambda: reader.acknowledged() == ["reply.1"])
    assert reader.got == []
    assert reader.delivery.discarded == {"undecodable": 1}


@pytest.mark.parametrize(
    ("status", "again"),
    [(b"408 Request Timeout", True), (b"409 Consumer Deleted", True), (b"100 Idle Heartbeat", False)],
    ids=["timeout", "deleted", "heartbeat"],
)
async def test_a_request_that_has_ended_is_followed_by_the_next(
    reader: Reader, status: bytes, again: bool
) -> None:
    """A heartbeat is no end of it, and nothing is stored for any of them."""
    async with reader.running():
        (first,) = reader.requests()
        assert first["reply"] in reader.jetstream.inboxes
        reader.hear("inbox", "", b"NATS/1.0 " + status + b"\r\n\r\n")
        reader.hear("cascade.telemetry.a", "reply.1")
        await eventually(lambda: reader.acknowledged() == ["reply.1"])
        await reader.asked(1 + again)
    assert reader.stores == 1


async def test_headers_of_a_publisher_are_no_status(reader: Reader) -> None:
    """Telemetry has an id in its headers."""
    async with reader.running():
        reader.hear("cascade.telemetry.a", "reply.1", b"NATS/1.0\r\nNats-Msg-Id: r-1\r\n\r\n")
        await eventually(lambda: reader.acknowledged() == ["reply.1"])
    assert reader.got == ["cascade/telemetry/a"]


async def test_after_a_silence_it_asks_again(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may have lost the request."""
    monkeypatch.setattr("cascade.connectors.nats._consumer.SILENCE", 0.01)
    async with reader.running():
        await eventually(lambda: len(reader.requests()) > 2)
    assert reader.stores == 0


async def test_how_far_a_filter_was_read_has_a_name_of_its_own(reader: Reader) -> None:
    """The same for the next process of that name; another one for another filter or another name."""
    store = reader.jetstream.store()
    await store.open()
    names = []
    for name, topic_filter in (("a.b", "x/#"), ("a.b", "x/#"), ("a.b", "y/#"), ("a.c", "x/#")):
        queue = CallbackQueue(topic_filter, reader.note, 1, reader.delivery)
        kept = KeptTelemetry(queue, Keeping(name, reader.store), store=store, delivery=reader.delivery)
        assert await kept.open()
        names.append(kept.name)
        assert not {".", " ", "*", ">", "/"} & {*kept.name}
    assert names[0] == names[1]
    assert len({*names}) == 3
    assert [each["durable_name"] for each in reader.jetstream.consumers()] == names
    assert reader.jetstream.consumers()[2]["filter_subjects"] == ["y", "y.>"]


async def test_a_request_ends_after_several_signs_of_the_server(reader: Reader) -> None:
    """All its times are in nanoseconds: the server refuses heartbeats that are further apart than half of the request's time."""
    async with reader.running():
        (request,) = reader.requests()
    assert request["batch"] == BATCH
    assert SILENCE * 1e9 > request["idle_heartbeat"] >= 1e9
    assert 2 * request["idle_heartbeat"] <= request["expires"] < 3600e9
    (subject,) = {subject for subject, _ in reader.jetstream.written}
    assert subject == f"$JS.API.CONSUMER.MSG.NEXT.cascade.{reader.kept.name}"


async def test_without_a_stream_nothing_is_kept(reader: Reader) -> None:
    """The caller listens then; a refusal is the caller's, too."""
    assert not await reader.kept.open()
    assert reader.jetstream.consumers() == []
    store = reader.jetstream.store()
    await store.open()
    reader.jetstream.errors["$JS.API.CONSUMER"] = MessageRejected(403)
    kept = KeptTelemetry(reader.queue, Keeping("b", reader.store), store=store, delivery=reader.delivery)
    with pytest.raises(MessageRejected):
        await kept.open()
