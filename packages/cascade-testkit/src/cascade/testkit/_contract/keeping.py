"""Telemetry for one that was away: it waits until it is stored."""

from __future__ import annotations

import asyncio

from cascade.interfaces import Connector, MessageCallback, SupportsKeep
from cascade.interfaces.topics import telemetry_topic
from cascade.testkit._abilities import needs
from cascade.testkit._contract.ability import Ability
from cascade.testkit._contract.harness import Harness, Inbox, numbers


class Keeping(Harness):
    """Section 3b: messages that are kept under a name."""

    @needs(Ability.DELIVERY, Ability.KEEP)
    async def test_what_was_sent_while_it_was_away_comes_and_what_it_has_stored_does_not(self) -> None:
        """Each once, in order; and the next one of the name goes on behind it."""
        topic, store, first, second = await self._telemetry(), Store(), Inbox(), Inbox()
        reader = await self._keeper(topic, first, store)
        await self._sends(topic, 0)
        await self.until(lambda: first.numbers() == [0] and store.calls, "the first message, stored")
        await reader.disconnect()
        await self._sends(topic, 1, 2, 3)
        await self._keeper(topic, second, store)
        await self._sends(topic, 4)
        await self.until(lambda: 4 in second.numbers(), "the last message")
        assert second.numbers() == [1, 2, 3, 4]

    @needs(Ability.DELIVERY, Ability.KEEP)
    async def test_what_was_not_stored_comes_again(self) -> None:
        """Together with what was sent after it."""
        topic, stuck, first, second = await self._telemetry(), Store(stuck=True), Inbox(), Inbox()
        reader = await self._keeper(topic, first, stuck)
        await self._sends(topic, 0)
        await self.until(lambda: first.numbers() == [0] and stuck.calls, "the first message")
        await reader.disconnect()
        await self._sends(topic, 1)
        await self._keeper(topic, second, Store())
        await self.until(lambda: {*second.numbers()} == {0, 1}, "both messages")

    @needs(Ability.DELIVERY, Ability.KEEP)
    async def test_what_a_callback_still_had_comes_again(self) -> None:
        """Nothing was stored after its end, whatever ``stored`` says before."""
        topic, store, entered, second = await self._telemetry(), Store(), asyncio.Event(), Inbox()

        async def blocks(_topic: str, _data: object) -> None:
            entered.set()
            await asyncio.Event().wait()

        reader = await self._keeper(topic, blocks, store)
        await self._sends(topic, 0)
        await self.within(entered.wait())
        await reader.disconnect()
        await self._keeper(topic, second, store)
        await self.until(lambda: second.numbers() == [0], "the message once more")

    @needs(Ability.DELIVERY, Ability.KEEP, Ability.LINK)
    async def test_what_was_not_stored_when_the_link_broke_comes_again(self) -> None:
        """On the next link, with what was sent meanwhile."""
        topic, stuck, inbox = await self._telemetry(), Store(stuck=True), Inbox()
        await self._keeper(topic, inbox, stuck)
        await self._sends(topic, 0)
        await self.until(lambda: inbox.numbers() == [0] and stuck.calls, "the first message")
        await self.interrupt()
        await self._sends(topic, 1)
        stuck.stuck = False
        await self.restore()
        await self.until(lambda: inbox.numbers().count(0) > 1 and 1 in inbox.numbers(), "both messages")

    async def _telemetry(self) -> str:
        """Return a topic of telemetry of this test alone: a network may keep no other."""
        name = self.topic().rpartition("/")[2]
        topic = telemetry_topic("contract", "keeping", name)
        sender, seen = await self._opened(await self.make_witness()), await self.observe(topic)
        self.__dict__["_kept"] = name, sender, seen
        return topic

    async def _sends(self, topic: str, *sent: int) -> None:
        """Publish messages; return when others have got them."""
        _, sender, seen = self.__dict__["_kept"]
        for n in sent:
            await sender.publish(topic, {"n": n}, 1)
        await self.until(lambda: {*sent} <= {*numbers(seen())}, "the messages at another reader")

    async def _keeper(self, topic: str, callback: MessageCallback, store: Store) -> Connector:
        """Open a connector for which messages are kept; all of one test have the same name."""
        connector = await self.make()
        assert isinstance(connector, SupportsKeep)
        connector.keep(f"contract-{self.__dict__['_kept'][0]}", store)
        await connector.subscribe(topic, callback, 1)
        return await self._opened(connector)


class Store:
    """Says at once that everything is stored, or never while it is stuck."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.calls = 0
        self.stuck = stuck

    async def __call__(self) -> None:
        self.calls += 1
        if self.stuck:
            await asyncio.Event().wait()
