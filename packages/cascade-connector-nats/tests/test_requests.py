"""Requests over NATS: a program that obeys them, and nats-py's own requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import nats
import pytest

from cascade.connectors.nats import NatsConnector
from cascade.interfaces import Complete, Message
from cascade.interfaces.topics import request_filters
from cascade.testkit.brokers import NatsServer

pytestmark = [
    pytest.mark.broker,
    pytest.mark.wrong_messages("no schema describes them", "cascade/requests/#", "cascade/responses/#"),
]

SUBJECT = "cascade.requests.press-3.audit"


@contextlib.asynccontextmanager
async def serving(server: NatsServer) -> AsyncIterator[list[Message]]:
    """Answer each request with itself; yield those that came."""
    came: list[Message] = []
    ready = asyncio.Event()

    async def run() -> None:
        async with contextlib.aclosing(connector.watch(*request_filters("press-3"))) as items:
            async for item in items:
                if isinstance(item, Complete):
                    ready.set()
                elif isinstance(item, Message) and item.payload:
                    came.append(item)
                    if item.reply_to is not None and item.reply_to.is_permitted(item.topic):
                        connector.answer_nowait(item.reply_to, json.loads(item.payload))

    async with NatsConnector(server.host, server.nats_port, source_id="press-3") as connector:
        task = asyncio.create_task(run(), name="service")
        try:
            await ready.wait()
            yield came
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_requests_of_nats_py_get_their_own_answers(nats_server: NatsServer) -> None:
    """Many at once, to one engine and to every one; one that names a place for its answers gets it there."""
    async with serving(nats_server):
        client = await nats.connect(nats_server.nats_url)
        subjects = [SUBJECT, "cascade.requests.=40all.audit"] * 10
        asked = [client.request(subject, b'{"n": %d}' % n, timeout=60) for n, subject in enumerate(subjects)]
        assert [json.loads(answer.data)["n"] for answer in await asyncio.gather(*asked)] == [*range(20)]
        own = await client.subscribe("cascade.responses.press-3.b7")
        await client.publish(SUBJECT, b'{"n": 20}', reply="cascade.responses.press-3.b7")
        assert json.loads((await own.next_msg(timeout=60)).data) == {"n": 20}
        await client.close()


async def test_an_answer_goes_nowhere_else(nats_server: NatsServer) -> None:
    """Row 57: not into the bucket, to JetStream or to another topic, which the requester might not write itself."""
    elsewhere = [
        "$JS.API.STREAM.PURGE.KV_cascade",
        "$KV.cascade.cascade.constraints.global",
        "cascade.constraints.global",
    ]
    async with serving(nats_server) as came:
        client = await nats.connect(nats_server.nats_url)
        everything = await client.subscribe(">")
        for reply in elsewhere:
            await client.publish(SUBJECT, b"{}", reply=reply)
        inbox = client.new_inbox()
        await client.publish(SUBJECT, b"{}", reply=inbox)
        found: list[str] = []
        while inbox not in found:
            found.append((await everything.next_msg(timeout=60)).subject)
        assert not {*found} & {*elsewhere}
        assert len(came) == 4
        await client.close()


@pytest.mark.wrong_messages("it is no event", "cascade/telemetry/#")
async def test_the_acknowledgement_of_telemetry_is_no_address(nats_server: NatsServer) -> None:
    """A sender awaits that of the stream: an answer of another would be taken for it."""
    topic = "cascade/telemetry/o/p/r/events"
    async with (
        NatsConnector(nats_server.host, nats_server.nats_port) as connector,
        contextlib.aclosing(connector.watch(topic)) as items,
    ):
        while not isinstance(await anext(items), Complete):
            pass
        await connector.publish(topic, {}, 1)
        while not isinstance(item := await anext(items), Message):
            pass
        assert item.reply_to is None
