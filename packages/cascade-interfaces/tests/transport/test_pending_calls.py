"""The calls of a client that wait for an answer."""

from __future__ import annotations

import asyncio

import pytest

from cascade.transport.faults import LinkLost, MessageRejected
from cascade.transport.pending_calls import PendingCalls


async def ask(client: PendingCalls, key: str, about: str = "") -> object:
    """Wait for the answer for a key."""
    with client.expecting(key, about) as answer:
        return await answer


async def test_each_call_gets_its_own_answer() -> None:
    """An answer that no call awaits is ignored."""
    client = PendingCalls()
    one, other = (asyncio.create_task(ask(client, key), name=key) for key in ("one", "other"))
    await asyncio.sleep(0)
    client.answer("no call", 0)
    client.answer("other", 2)
    client.answer("one", 1)
    client.answer("one", 3)
    assert (await one, await other) == (1, 2)


async def test_calls_about_one_thing_fail_alone() -> None:
    """The others wait on."""
    client = PendingCalls()
    one, other = (asyncio.create_task(ask(client, key, key), name=key) for key in ("one", "other"))
    await asyncio.sleep(0)
    client.fail(MessageRejected(403), about="one")
    client.answer("other", 2)
    with pytest.raises(MessageRejected):
        await one
    assert await other == 2


async def test_a_lost_connection_ends_every_call() -> None:
    """Those that wait, and each later one; the first cause counts and is reported once."""
    client = PendingCalls()
    causes: list[BaseException | None] = []
    client.on_lost(causes.append)
    waiting = asyncio.create_task(ask(client, "one"), name="one")
    await asyncio.sleep(0)
    client.lost(cause := ConnectionError("cut"))
    client.lost(ConnectionError("closed"))
    for call in (waiting, ask(client, "two")):
        with pytest.raises(LinkLost) as raised:
            await call
        assert raised.value.cause is cause
    late: list[BaseException | None] = []
    client.on_lost(late.append)
    assert causes == late == [cause]
