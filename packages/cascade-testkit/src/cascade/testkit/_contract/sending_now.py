"""Tests of messages that are sent on the present link or never."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from cascade.interfaces import (
    Complete,
    Connector,
    InvalidPayloadError,
    InvalidTopicError,
    Message,
    SupportsSendNow,
    SupportsWatch,
    WatchStream,
    WrongThreadError,
)
from cascade.testkit._abilities import needs
from cascade.testkit._contract.ability import Ability
from cascade.testkit._contract.harness import Harness

_MANY = 50


class SendingNow(Harness):
    """Section 2c: what is sent now or never. A lease stands on it."""

    @needs(Ability.SEND_NOW, Ability.WATCH)
    async def test_what_is_sent_now_reaches_all_in_its_order(self) -> None:
        """Whether it is retained or not; its sender gets it, too."""
        topic = self.topic()
        both = [await self.open(), await self._opened(await self.make())]
        async with contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(watched(each, topic)) for each in both]
            for stream in streams:
                while not isinstance(await self.within(anext(stream)), Complete):
                    pass
            for n in range(_MANY):
                assert send(both[0], topic, {"n": n}, retain=bool(n % 3))
            seen = [await self.within(_numbers(stream)) for stream in streams]
        assert seen == [[*range(_MANY)]] * 2
        await both[0].publish(topic, None, 1, retain=True)

    @needs(Ability.SEND_NOW, Ability.LINK)
    async def test_what_is_sent_now_waits_for_no_link(self) -> None:
        """Without a link the call says so, and the message never comes."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.make()
        assert send(connector, topic, {"n": 0}) is False
        await self._opened(connector)
        await self.until(lambda: send(connector, topic, {"n": 1}), "a link")
        await self.until(seen, "the message")
        await self.interrupt()
        await self.until(lambda: not send(connector, topic, {"n": 2}), "no link")
        await self.restore()
        await self.until(lambda: send(connector, topic, {"n": 3}), "a new link")
        await self.until(lambda: seen()[-1][1]["n"] == 3, "the message of the new link")
        assert {data["n"] for _, data in seen()} in ({1, 3}, {1, 2, 3})

    @needs(Ability.SEND_NOW)
    async def test_a_mistake_of_who_sends_now_is_refused(self) -> None:
        """An invalid topic, a payload that is no mapping, and a foreign thread."""
        topic, connector = self.topic(), await self.open()
        with pytest.raises(InvalidTopicError):
            send(connector, "a/#", {})
        with pytest.raises(InvalidPayloadError):
            send(connector, topic, ["a list"])
        with pytest.raises(WrongThreadError):
            await asyncio.to_thread(send, connector, topic, {})


async def _numbers(stream: WatchStream) -> list[int]:
    """Return the numbers of live messages, as they came."""
    found: list[int] = []
    while len(found) < _MANY:
        if isinstance(item := await anext(stream), Message):
            found.append(json.loads(item.payload)["n"])
    return found


def send(connector: Connector, topic: str, payload: object, *, retain: bool = False) -> bool:
    """Send a message now."""
    assert isinstance(connector, SupportsSendNow)
    return connector.send_nowait(topic, payload, retain=retain)  # type: ignore[arg-type]


def watched(connector: Connector, topic: str) -> contextlib.AbstractAsyncContextManager[WatchStream]:
    """Watch a topic."""
    assert isinstance(connector, SupportsWatch)
    return contextlib.aclosing(connector.watch(topic))
