"""Connecting and leaving."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from cascade.interfaces import Connector
from cascade.testkit._abilities import needs
from cascade.testkit._contract.ability import MEMBERS, Ability
from cascade.testkit._contract.harness import Harness, Inbox, numbers
from cascade.testkit.leaks import no_leaks


class Life(Harness):
    """Section 1: connect, disconnect, and again."""

    async def test_abilities_are_declared_as_they_are(self) -> None:
        """An ability that shows in the type is declared, and a declared one is there."""
        connector = await self.make()
        assert isinstance(connector, Connector)
        has = {ability for ability, member in MEMBERS.items() if hasattr(type(connector), member)}
        wrong = has ^ (self.abilities & MEMBERS.keys())
        assert not wrong, f"declared and not there, or there and not declared: {sorted(map(str, wrong))}"

    async def test_connect_twice_is_harmless(self) -> None:
        """The second call does nothing: it leaves nothing behind, and what is published comes out once."""
        connector, topic = await self.make(), self.topic()
        async with no_leaks(self.timeout):
            await connector.connect()
            await connector.connect()
            await self.within(connector.disconnect())
        seen = await self.observe(topic)
        await self._opened(connector)
        await connector.connect()
        await connector.publish(topic, {"n": 1}, 1)
        await self.until(seen, "the message")
        await connector.publish(topic, {"last": True}, 1)
        await self.until(lambda: "last" in seen()[-1][1], "the last message")
        assert numbers(seen()) == [1]

    async def test_disconnect_twice_is_harmless(self) -> None:
        """Before connect, and after a first time, it returns and raises nothing."""
        connector = await self.make()
        await self.within(connector.disconnect())
        await connector.connect()
        await self.within(connector.disconnect())
        await self.within(connector.disconnect())

    async def test_it_can_be_connected_again(self) -> None:
        """After disconnect the same object connects again and works."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.open()
        await connector.disconnect()
        await connector.connect()
        await connector.publish(topic, {"n": 1}, 1)
        await self.until(lambda: numbers(seen()) == [1], "what was published the second time")

    async def test_it_can_be_connected_again_on_another_loop(self) -> None:
        """Two event loops, one after the other, may use one connector."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.make()

        async def use(n: int) -> None:
            await connector.connect()
            await connector.publish(topic, {"n": n}, 1)
            await self.until(lambda: n in numbers(seen()), "the message of this loop")
            await connector.disconnect()

        for n in (1, 2):
            await in_a_loop_of_its_own(lambda n=n: use(n))  # type: ignore[misc]
        assert numbers(seen()) == [1, 2]

    async def test_nothing_is_left_behind(self) -> None:
        """``disconnect`` leaves no task, thread, socket or file behind."""
        connector = await self.make()
        async with no_leaks(self.timeout):
            await connector.connect()
            if Ability.DELIVERY in self.abilities:
                await connector.subscribe(self.topic(), Inbox())
            await connector.publish(self.topic(), {"n": 1}, 1)
            await connector.disconnect()

    @pytest.mark.parametrize("turns", [0, 1, 3, 10])
    async def test_a_cancelled_connect_leaves_nothing_behind(self, turns: int) -> None:
        """Wherever connect is cancelled, disconnect afterwards frees all, and connect works again."""
        connector = await self.make()
        async with no_leaks(self.timeout):
            await cancelled(connector.connect(), turns)
            await self.within(connector.disconnect())
        await self.within(self._opened(connector))

    @pytest.mark.parametrize("turns", [0, 1, 3, 10])
    async def test_a_cancelled_disconnect_leaves_nothing_behind(self, turns: int) -> None:
        """Wherever disconnect is cancelled, all is free after it was called again."""
        connector = await self.make()
        async with no_leaks(self.timeout):
            await connector.connect()
            await self.numbered(connector, self.topic(), 10)
            await cancelled(connector.disconnect(), turns)
            await self.within(connector.disconnect())

    @needs(Ability.LINK_STATE)
    async def test_connected_is_true_between_connect_and_disconnect(self) -> None:
        """It is True from connect to disconnect."""
        connector: Any = await self.make()
        states = [connector.connected]
        await self._opened(connector)
        states.append(connector.connected)
        await connector.disconnect()
        states.append(connector.connected)
        assert states == [False, True, False]

    @needs(Ability.SOURCE)
    async def test_source_id_is_a_name_that_stays(self) -> None:
        """It is text, not empty, and the same before, while and after it is connected."""
        connector: Any = await self.make()
        before = connector.source_id
        await self._opened(connector)
        assert isinstance(before, str)
        assert before
        assert connector.source_id == before


async def in_a_loop_of_its_own(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Await what ``make`` returns on another event loop, of the same kind, in another thread."""
    new_loop = type(asyncio.get_running_loop())

    def run() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(make())

    await asyncio.to_thread(run)


async def cancelled(action: Coroutine[Any, Any, None], turns: int) -> None:
    """Begin an action, wait for a loop iteration, cancel it, and wait until it has ended."""
    task = asyncio.create_task(action, name="contract-cancelled")
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
