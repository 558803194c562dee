"""The link breaks, and comes back."""

from __future__ import annotations

import pytest

from cascade.interfaces import Complete, Linked, Lost, SupportsFlush
from cascade.testkit._abilities import needs
from cascade.testkit._contract.ability import Ability
from cascade.testkit._contract.harness import Harness, Inbox, numbers
from cascade.testkit._contract.life import cancelled
from cascade.testkit._contract.publishing import MANY, balanced, statistics
from cascade.testkit._contract.watching import connector_watch
from cascade.testkit.leaks import no_leaks


class Linking(Harness):
    """Section 6: what a connector does without answers, and afterwards."""

    @needs(Ability.LINK)
    async def test_connect_returns_without_an_answer(self) -> None:
        """Row 1: it returns within its own limit, goes on trying, and gets the link when it can."""
        topic = self.topic()
        seen = await self.observe(topic)
        await self.interrupt()
        connector = await self.within(self.open())
        await connector.publish(topic, {"n": 1}, 1)
        await self.restore()
        await self.until(lambda: set(numbers(seen())) == {1}, "what was published without a link")

    @needs(Ability.LINK)
    async def test_connect_returns_although_the_other_side_is_silent(self) -> None:
        """Row 2: a server that accepts and never answers does not delay it either: the link is made when it can be."""
        topic = self.topic()
        seen = await self.observe(topic)
        await self.silence()
        connector = await self.within(self.open())
        await connector.publish(topic, {"n": 1}, 1)
        await self.restore()
        await self.until(lambda: set(numbers(seen())) == {1}, "what was published without a link")

    @needs(Ability.LINK)
    async def test_a_connect_that_is_cancelled_amid_silence_leaves_nothing_behind(self) -> None:
        """Row 3: after disconnect nothing waits for an answer."""
        connector = await self.make()
        async with no_leaks(self.timeout):
            await self.silence()
            await cancelled(connector.connect(), turns=3)
            await self.within(connector.disconnect())
            await self.restore()

    @needs(Ability.LINK)
    @pytest.mark.parametrize("turns", [0, 3, 30])
    async def test_a_connect_cancelled_before_an_answer_leaves_nothing_behind(self, turns: int) -> None:
        """After disconnect no attempt goes on in the background."""
        await self.interrupt()
        connector = await self.make()
        async with no_leaks(self.timeout):
            await cancelled(connector.connect(), turns)
            await self.within(connector.disconnect())

    @needs(Ability.LINK)
    async def test_what_is_published_without_a_link_waits_for_it(self) -> None:
        """Calls return at once and raise nothing meanwhile; the messages come out when the link is back."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.open()
        await self.interrupt()
        for n in range(MANY):
            await self.at_once(connector.publish(topic, {"n": n}, 1))
        await self.restore()
        await self.until(lambda: set(numbers(seen())) == set(range(MANY)), f"{MANY} messages")

    @needs(Ability.LINK, Ability.DELIVERY)
    async def test_subscriptions_are_made_again_on_a_new_link(self) -> None:
        """Every filter hears again what is published after the link is back."""
        topic, connector = self.topic(), await self.open()
        inboxes = [Inbox(), Inbox()]
        await connector.subscribe(f"{topic}/0", inboxes[0], 1)
        await connector.subscribe(f"{topic}/+", inboxes[1], 1)
        witness = await self._opened(await self.make_witness())
        await self.interrupt()
        await self.restore()

        async def both() -> bool:
            await witness.publish(f"{topic}/0", {"n": 1}, 1)
            return all(inbox.seen() for inbox in inboxes)

        await self.until(both, "a message after the link was back")

    @needs(Ability.LINK, Ability.DELIVERY)
    async def test_a_subscription_made_without_a_link_is_made_when_it_is_back(self) -> None:
        """The call returns and raises nothing meanwhile."""
        topic, inbox, connector = self.topic(), Inbox(), await self.open()
        await self.interrupt()
        await self.within(connector.subscribe(topic, inbox, 1))
        await self.restore()

        async def heard() -> bool:
            await connector.publish(topic, {"n": 1}, 1)
            return bool(inbox.seen())

        await self.until(heard, "a message after the link was back")

    @needs(Ability.LINK)
    async def test_disconnect_returns_without_an_answer(self) -> None:
        """It gives up within a stated time, and leaves nothing that goes on trying."""
        connector = await self.make()
        async with no_leaks(self.timeout):
            await self._opened(connector)
            await self.interrupt()
            await self.numbered(connector, self.topic(), 10)
            await self.within(connector.disconnect())

    @needs(Ability.LINK)
    async def test_disconnect_returns_although_the_other_side_is_silent(self) -> None:
        """It does not wait for ever on a link that no longer carries anything, either."""
        connector = await self.make()
        async with no_leaks(self.timeout):
            await self._opened(connector)
            await self.silence()
            await self.numbered(connector, self.topic(), 10)
            await self.within(connector.disconnect())
            await self.restore()

    @needs(Ability.LINK, Ability.STATISTICS)
    async def test_what_is_given_up_is_counted(self) -> None:
        """After a disconnect without a link the messages that never left are counted as dropped."""
        connector = await self.open()
        await self.interrupt()
        await self.until(lambda: not statistics(connector).linked, "the loss of the link")
        await self.numbered(connector, self.topic(), MANY)
        assert balanced(connector)
        await self.within(connector.disconnect())
        counts = statistics(connector)
        assert (counts.accepted, counts.sent, counts.pending) == (MANY, 0, 0)
        assert sum(counts.dropped.values()) == MANY

    @needs(Ability.LINK, Ability.STATISTICS)
    async def test_every_new_link_is_counted(self) -> None:
        """``linked`` is true while there is a link, ``connections`` counts them."""
        connector = await self.open()
        await self.until(lambda: statistics(connector).linked, "the link")
        await self.interrupt()
        await self.until(lambda: not statistics(connector).linked, "its loss")
        await self.restore()
        await self.until(lambda: statistics(connector).linked, "the next link")
        assert statistics(connector).connections == 2

    @needs(Ability.LINK, Ability.FLUSH)
    async def test_flush_returns_false_if_messages_remain(self) -> None:
        """Without a link it waits no longer than its timeout, and returns False."""
        connector = await self.open()
        await self.interrupt()
        await connector.publish(self.topic(), {"n": 1}, 1)
        assert isinstance(connector, SupportsFlush)
        assert await self.within(connector.flush(0.05)) is False

    @needs(Ability.LINK, Ability.WATCH)
    async def test_a_watch_yields_lost_and_linked(self) -> None:
        """A watch reports that messages may have been missed, and when the filters are in force again."""
        connector = await self.open()
        stream = connector_watch(connector, self.topic())
        assert await self.within(anext(stream)) == Linked()
        assert isinstance(await self.within(anext(stream)), Complete)
        await self.interrupt()
        assert isinstance(await self.within(anext(stream)), Lost)
        await self.restore()
        assert await self.within(anext(stream)) == Linked()
        assert isinstance(await self.within(anext(stream)), Complete)
