"""What one link subscribes to, announces and gives up, by what JetStream in memory answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from jetstream import ABSENT, BUCKET, JetStream

from cascade.connectors.nats import config
from cascade.connectors.nats._client import ApiError
from cascade.connectors.nats._kept import Keeping
from cascade.connectors.nats._link import NatsLink
from cascade.interfaces import Linked, Lost
from cascade.interfaces.subjects import subject_of
from cascade.interfaces.topics import constraint_topic, status_topic, telemetry_topic
from cascade.testkit import eventually
from cascade.transport.faults import MessageRejected
from cascade.transport.incoming.callbacks import CallbackQueue
from cascade.transport.incoming.dispatcher import Dispatcher
from cascade.transport.incoming.message import DeliveryCounts
from cascade.transport.incoming.watches import WatchQueue
from cascade.transport.link import LinkParts
from cascade.transport.outbox import Outbox
from cascade.transport.presence import Presence
from cascade.transport.state_log import StateLog

STATUS = f"$KV.cascade.{subject_of(status_topic('press-3'))}"


class Plant:
    """A link to a server in memory, its queues and what they got."""

    def __init__(
        self, jetstream: JetStream, *, named: bool = True, lifetime: float | None = 10.0, kept: bool = False
    ) -> None:
        self.jetstream, self.got, self.stored = jetstream, list[tuple[str, dict[str, Any]]](), 0
        log, settings = logging.getLogger("cascade"), config.settings("server", 4222, {})
        self.dispatcher = Dispatcher(DeliveryCounts(log))
        self.presence = Presence("press-3", named=named, lifetime=lifetime)
        self.presence.begin()
        parts = LinkParts(
            settings=settings,
            outbox=Outbox(max_messages=100, max_bytes=1_000_000),
            dispatcher=self.dispatcher,
            presence=self.presence,
            state=StateLog(log),
            released=asyncio.Event(),
            first_reports=dict,
            on_settled=lambda: None,
            log=log,
        )
        keeping = Keeping("box", self.store) if kept else None
        self.link = NatsLink(jetstream.client, parts, bucket="cascade", keeping=keeping)

    async def store(self) -> None:
        self.stored += 1

    async def note(self, topic: str, data: dict[str, Any]) -> None:
        self.got.append((topic, data))

    def callback(self, topic_filter: str, qos: int = 0) -> CallbackQueue:
        """Add a callback, which the link does not know yet."""
        queue = CallbackQueue(topic_filter, self.note, qos, self.dispatcher.delivery)
        self.dispatcher.add(queue)
        return queue

    def watch(self, *filters: str) -> WatchQueue:
        queue = WatchQueue(filters, self.dispatcher.delivery)
        self.dispatcher.add(queue)
        return queue

    def hear(self, listened: str, subject: str, data: bytes = b"{}") -> None:
        """Send a message that is not retained to a subscription."""
        self.jetstream.inboxes[listened](subject, "", data, None)

    def put(self) -> list[tuple[str, bytes, str | None]]:
        """Return what was put into the bucket, with its time to live."""
        return [
            (subject, data, (found or {}).get("Nats-TTL")) for subject, data, found in self.jetstream.sent
        ]


@pytest.fixture
async def jetstream(monkeypatch: pytest.MonkeyPatch) -> JetStream:
    monkeypatch.setattr("cascade.connectors.nats._store.STORE_TIMEOUT", 600.0)
    for name in ("_link.OPEN_TIMEOUT", "_consumer.SILENCE", "_retained.SILENCE"):
        monkeypatch.setattr(f"cascade.connectors.nats.{name}", 600.0)
    monkeypatch.setattr("cascade.connectors.nats._link.RETRY", 0.01)
    monkeypatch.setattr("cascade.transport.link.ANSWER_TIMEOUT", 600.0)
    monkeypatch.setattr("cascade.transport.link.LEAVE_TIMEOUT", 60.0)
    return JetStream()


@asynccontextmanager
async def up(plant: Plant) -> AsyncIterator[Plant]:
    """Establish the link, and stop it."""
    await plant.link.establish()
    try:
        yield plant
    finally:
        await plant.link.stop()
        for queue in plant.dispatcher.callbacks():
            await queue.stop(reason="end")
        del plant.link


async def test_an_unnamed_process_leaves_nothing_behind(
    jetstream: JetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key is no topic, and is there without a second look at the store; at its end it goes, and no watch sees it."""
    monkeypatch.setattr("cascade.connectors.nats._link.RETRY", 600.0)
    async with up(Plant(jetstream, named=False)) as plant:
        await eventually(lambda: len(jetstream.sent) == 1)
        assert plant.put() == [(f"{STATUS}.=will", b"1", "10s")]
        assert await plant.link.publish_offline()
    assert jetstream.asked[-1] == (f"$JS.API.STREAM.PURGE.{BUCKET}", {"filter": f"{STATUS}.=will"})
    assert len(jetstream.sent) == 1


async def test_without_time_to_live_nothing_is_announced(jetstream: JetStream) -> None:
    """A birth that no will follows would stay for ever."""
    jetstream.has(BUCKET, subjects=["$KV.cascade.>"])
    async with up(Plant(jetstream)) as plant:
        for _ in range(20):
            await asyncio.sleep(0)
        await plant.link.publish_offline()
    assert jetstream.sent == []


@pytest.mark.parametrize("named", [True, False])
async def test_who_could_not_be_announced_is_as_soon_as_there_is_a_bucket(
    jetstream: JetStream, caplog: pytest.LogCaptureFixture, named: bool
) -> None:
    """The link is up meanwhile, one line says what is missing, and one that it is there."""
    jetstream.errors["$JS.API."] = MessageRejected(403)
    async with up(Plant(jetstream, named=named)) as plant:
        asked = len(jetstream.asked)
        await eventually(lambda: len(jetstream.asked) > asked + 4)
        assert jetstream.sent == []
        jetstream.errors.clear()
        await eventually(lambda: jetstream.sent)
        assert [put[::2] for put in plant.put()] == [(STATUS if named else f"{STATUS}.=will", "10s")]
        asked = len(jetstream.asked)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert len(jetstream.asked) == asked  # it looks no more
    lines = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert "no constraints, presence and retained messages: this user may not use JetStream" in lines[0]


async def test_what_the_server_says_to_itself_is_hidden_from_wildcards(jetstream: JetStream) -> None:
    """Unless a filter names it; a subject that is no topic is counted."""
    async with up(Plant(jetstream)) as plant:
        for topic_filter in ("#", "+/x", "_INBOX./x"):
            await plant.link.subscribe(plant.callback(topic_filter))
        for hidden in ("$JS.EVENT", "$KV.cascade.a", "_INBOX.x", "=24SYS.x"):
            plant.hear(">", hidden)
            plant.hear("*.x", hidden)
        assert plant.dispatcher.delivery.received == 0
        plant.hear(">", "a.=FF")
        plant.hear(">", "a.b")
        await eventually(lambda: plant.got == [("a/b", {})])
        assert plant.dispatcher.delivery.discarded == {"undecodable": 1}
        assert plant.dispatcher.delivery.received == 2


@pytest.mark.parametrize(
    ("topic_filter", "qos", "kept", "reads"),
    [
        ("cascade/telemetry/#", 1, True, True),
        (telemetry_topic("o", "p", "r"), 2, True, True),
        ("cascade/telemetry/#", 0, True, False),
        ("cascade/#", 1, True, False),
        ("cascade/telemetry/#", 1, False, False),
        (constraint_topic("global"), 1, True, False),
    ],
)
async def test_telemetry_at_qos_1_is_read_from_the_stream_where_it_is_kept(
    jetstream: JetStream, topic_filter: str, qos: int, kept: bool, reads: bool
) -> None:
    """And from no plain subscription besides, which would bring it twice."""
    async with up(Plant(jetstream, kept=kept)) as plant:
        await plant.link.subscribe(plant.callback(topic_filter, qos))
        await eventually(jetstream.consumers)
        (consumer,) = jetstream.consumers()
        assert ("durable_name" in consumer) is reads
        live = [each for each in jetstream.inboxes if not each.startswith("inbox")]
        assert bool(live) is not reads


@pytest.mark.parametrize("shared", [False, True])
async def test_telemetry_is_read_from_the_stream_as_soon_as_there_is_one(
    jetstream: JetStream, shared: bool
) -> None:
    """Until then its callback listens; the plain subscription then ends, unless another callback has it."""
    jetstream.errors["$JS.API.STREAM.INFO.cascade"] = ApiError(
        {"code": 400, "err_code": 10047, "description": "insufficient storage"}
    )
    async with up(Plant(jetstream, kept=True)) as plant:
        subject = subject_of(telemetry_topic("o", "p", "r"))
        await plant.link.subscribe(plant.callback(telemetry_topic("o", "p", "r"), 1))
        if shared:
            await plant.link.subscribe(plant.callback(telemetry_topic("o", "p", "r"), 0))
        plant.hear(subject, subject, b'{"n": 1}')
        await eventually(lambda: len(plant.got) == 1 + shared)
        assert not any("durable_name" in each for each in jetstream.consumers())
        jetstream.errors.clear()
        await eventually(lambda: any("durable_name" in each for each in jetstream.consumers()))
        await eventually(lambda: (subject in jetstream.inboxes) is shared)
        asks = plant.link.store.next_of("")
        await eventually(lambda: any(each.startswith(asks) for each, _ in jetstream.written))


async def test_a_reader_that_is_refused_listens_and_says_so_once(
    jetstream: JetStream, caplog: pytest.LogCaptureFixture
) -> None:
    """With what to allow."""
    jetstream.errors["$JS.API.CONSUMER.CREATE.cascade."] = ApiError(ABSENT)
    async with up(Plant(jetstream, kept=True)) as plant:
        await plant.link.subscribe(plant.callback("cascade/telemetry/#", 1))
        tried = len(jetstream.consumers())
        await eventually(lambda: len(jetstream.consumers()) > tried + 3)
        assert "cascade.telemetry.>" in jetstream.inboxes
    lines = [each.getMessage() for each in caplog.records if "keeps no telemetry" in each.getMessage()]
    (line,) = lines
    assert line == (
        "server:4222 keeps no telemetry while this process is away: nothing answers; "
        "allow it to publish to $JS.API.CONSUMER.*.cascade.>"
    )


async def test_a_refused_subscription_is_reported_until_its_queue_ends(
    jetstream: JetStream, caplog: pytest.LogCaptureFixture
) -> None:
    """The watch learns it; that of the level above ``#`` alone is not a loss."""
    async with up(Plant(jetstream)) as plant:
        watch, other = plant.watch("Plant/#"), plant.watch("other")
        for queue in (watch, other):
            plant.link.watch_soon(queue)
            assert isinstance(await queue.next(), Linked)
        plant.jetstream.client.denied("plant")
        assert plant.link.refused == {}
        plant.jetstream.client.denied("plant.>")
        assert plant.link.refused == {"Plant/#": 403}
        while not isinstance(await watch.next(), Lost):
            pass
        await plant.link.unsubscribe(watch, plant.dispatcher.remove(watch))
        assert plant.link.refused == {}
    assert sum("refuses the subscription to Plant/#" in each.getMessage() for each in caplog.records) == 1
