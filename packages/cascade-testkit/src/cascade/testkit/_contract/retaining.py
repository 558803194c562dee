"""One retained message for each topic, for later subscribers."""

from __future__ import annotations

from cascade.interfaces import Connector
from cascade.testkit._abilities import needs
from cascade.testkit._contract.ability import Ability
from cascade.testkit._contract.harness import Harness, Inbox


class Retaining(Harness):
    """Section 4: retained messages."""

    @needs(Ability.DELIVERY, Ability.RETAINED)
    async def test_a_retained_message_waits_for_later_subscribers(self) -> None:
        """A later subscriber gets it, and nothing of what was published without retain."""
        topic, connector = self.topic(), await self.open()
        await self._settle(connector, topic, {"n": 1}, retain=True)
        await self._settle(connector, topic, {"n": 2}, retain=False)
        assert await self._retained(topic) == [1]
        await connector.publish(topic, None, 1, retain=True)

    @needs(Ability.DELIVERY, Ability.RETAINED)
    async def test_the_last_retained_message_replaces_the_one_before(self) -> None:
        """One topic keeps one message."""
        topic, connector = self.topic(), await self.open()
        for n in (1, 2):
            await self._settle(connector, topic, {"n": n}, retain=True)
        assert await self._retained(topic) == [2]
        await connector.publish(topic, None, 1, retain=True)

    @needs(Ability.DELIVERY, Ability.RETAINED)
    async def test_none_clears_its_own_topic_and_no_other(self) -> None:
        """The retained message of that topic is gone, those beside, above and below it stay."""
        base, connector = self.topic(), await self.open()
        topics = [base, f"{base}/a", f"{base}/a/b", f"{base}/c"]
        for n, topic in enumerate(topics):
            await self._settle(connector, topic, {"n": n}, retain=True)
        await self._settle(connector, f"{base}/a", None, retain=True)
        assert sorted(await self._retained(f"{base}/#")) == [0, 2, 3]
        for topic in topics:
            await connector.publish(topic, None, 1, retain=True)

    @needs(Ability.DELIVERY, Ability.RETAINED)
    async def test_a_further_subscription_gets_the_retained_messages_too(self) -> None:
        """Also when the same connector has subscribed to the same filter before."""
        topic, connector = self.topic(), await self.open()
        await self._settle(connector, topic, {"n": 1}, retain=True)
        for _ in range(2):
            inbox = Inbox()
            await connector.subscribe(topic, inbox, 1)
            await self.until(inbox.seen, "the retained message")
            assert set(inbox.numbers()) == {1}
        await connector.publish(topic, None, 1, retain=True)

    @needs(Ability.DELIVERY, Ability.RETAINED)
    async def test_a_subscription_made_before_connect_gets_the_retained_message(self) -> None:
        """It is sent on connecting, and the retained message is its answer."""
        topic, connector, inbox = self.topic(), await self.open(), Inbox()
        await self._settle(connector, topic, {"n": 1}, retain=True)
        later = await self.make()
        await later.subscribe(topic, inbox, 1)
        await self._opened(later)
        await self.until(lambda: inbox.numbers() == [1], "the retained message")
        await connector.publish(topic, None, 1, retain=True)

    async def _settle(
        self, connector: Connector, topic: str, payload: dict[str, int] | None, *, retain: bool
    ) -> None:
        """Publish, and wait until the other side has it."""
        inbox = Inbox()
        subscription = await connector.subscribe(topic, inbox, 1)
        await connector.publish(topic, payload, 1, retain=retain)
        await self.until(lambda: (topic, payload or {}) in inbox.seen(), "the message itself")
        await subscription.unsubscribe()

    async def _retained(self, topic_filter: str) -> list[int]:
        """Return what a new connector gets, up to a message that is published after it subscribed."""
        inbox, last = Inbox(), self.topic()
        reader = await self.open()
        await reader.subscribe(topic_filter, inbox, 1)
        after = Inbox()
        await reader.subscribe(last, after, 1)
        await reader.publish(last, {}, 1)
        await self.until(after.seen, "what was published after the subscription")
        return inbox.numbers()
