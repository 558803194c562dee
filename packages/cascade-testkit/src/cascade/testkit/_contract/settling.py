"""Tests of what became of each message: the ability on which an outbox on disk stands."""

from __future__ import annotations

import asyncio
import json

import pytest

from cascade.interfaces import Connector, Delivery, InvalidTopicError, SupportsDelivery, WrongThreadError
from cascade.testkit._abilities import needs
from cascade.testkit._contract.ability import Ability
from cascade.testkit._contract.harness import Harness, numbers
from cascade.testkit._contract.publishing import MANY


class Fates:
    """What became of numbered messages, each in the order of the reports."""

    def __init__(self) -> None:
        self.of: dict[int, list[Delivery]] = {}

    def deliver(self, connector: Connector, topic: str, n: int) -> None:
        """Deliver ``{"n": n}`` at QoS 1."""
        assert isinstance(connector, SupportsDelivery)
        reports = self.of.setdefault(n, [])
        connector.deliver_nowait(topic, json.dumps({"n": n}), 1, settled=reports.append)

    def settled(self) -> int:
        """Return how many messages have a report."""
        return sum(map(bool, self.of.values()))


class Settling(Harness):
    """Section 2b: each message is settled once, and what is settled is true."""

    @needs(Ability.SETTLEMENT)
    async def test_each_message_is_settled_once_as_taken(self) -> None:
        """TAKEN comes when the message is out, once, and nothing follows it."""
        topic, fates = self.topic(), Fates()
        seen = await self.observe(topic)
        connector = await self.open()
        for n in range(MANY):
            fates.deliver(connector, topic, n)
        await self.until(lambda: fates.settled() == MANY, "every message settled")
        await self.until(lambda: len(seen()) == MANY, "every message out")
        await self.within(connector.disconnect())
        assert fates.of == {n: [Delivery.TAKEN] for n in range(MANY)}

    @needs(Ability.SETTLEMENT)
    async def test_delivered_and_published_messages_leave_in_order(self) -> None:
        """Both ways to publish to a topic share one order."""
        topic, fates = self.topic(), Fates()
        seen = await self.observe(topic)
        connector = await self.open()
        for n in range(MANY):
            if n % 2:
                fates.deliver(connector, topic, n)
            else:
                await connector.publish(topic, {"n": n}, 1)
        await self.until(lambda: len(seen()) == MANY, f"{MANY} messages")
        assert numbers(seen()) == [*range(MANY)]

    @needs(Ability.SETTLEMENT)
    async def test_before_connect_a_message_is_returned(self) -> None:
        """It is settled as returned, and does not come out later."""
        topic, fates = self.topic(), Fates()
        seen = await self.observe(topic)
        connector = await self.make()
        fates.deliver(connector, topic, 1)
        assert fates.of == {1: [Delivery.RETURNED]}
        await self._opened(connector)
        fates.deliver(connector, topic, 2)
        await self.until(lambda: fates.of[2], "the second message settled")
        await self.until(seen, "the second message")
        assert (numbers(seen()), fates.of) == ([2], {1: [Delivery.RETURNED], 2: [Delivery.TAKEN]})

    @needs(Ability.SETTLEMENT)
    async def test_a_call_that_raises_settles_nothing(self) -> None:
        """An invalid topic and a foreign thread are the caller's mistakes."""
        topic, fates = self.topic(), Fates()
        connector = await self.open()
        with pytest.raises(InvalidTopicError):
            fates.deliver(connector, "a/#", 1)
        with pytest.raises(WrongThreadError):
            await asyncio.to_thread(fates.deliver, connector, topic, 2)
        fates.deliver(connector, topic, 3)
        await self.until(lambda: fates.of[3], "the valid message settled")
        assert fates.of == {1: [], 2: [], 3: [Delivery.TAKEN]}

    @needs(Ability.SETTLEMENT, Ability.LINK)
    async def test_a_lost_link_settles_nothing(self) -> None:
        """What was delivered without a link waits; it is settled when it has come out on the next one."""
        topic, fates = self.topic(), Fates()
        seen = await self.observe(topic)
        connector = await self.open()
        await self.interrupt()
        for n in range(MANY):
            fates.deliver(connector, topic, n)
        await self._turns()
        assert fates.settled() == 0
        await self.restore()
        await self.until(lambda: fates.settled() == MANY, "every message settled")
        await self.until(lambda: set(numbers(seen())) == {*range(MANY)}, "every message out")
        assert fates.of == {n: [Delivery.TAKEN] for n in range(MANY)}

    @needs(Ability.SETTLEMENT, Ability.LINK)
    async def test_disconnect_returns_what_it_could_not_send(self) -> None:
        """Each is returned once: it is not refused, because a later try may send it."""
        topic, fates = self.topic(), Fates()
        connector = await self.open()
        await self.interrupt()
        for n in range(MANY):
            fates.deliver(connector, topic, n)
        await self.within(connector.disconnect())
        assert fates.of == {n: [Delivery.RETURNED] for n in range(MANY)}

    async def _turns(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
