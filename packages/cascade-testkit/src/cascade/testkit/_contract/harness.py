"""The methods that the author of a connector fills in, and what every section of the suite builds on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from cascade.interfaces import Connector, SupportsStatistics
from cascade.testkit._abilities import Declaring
from cascade.testkit._contract.ability import Ability
from cascade.testkit.naming import unique_topic
from cascade.testkit.waiting import eventually, time_limit

_TURNS = 10
"""Of the event loop: more than any call needs that waits for nothing."""

Seen = list[tuple[str, dict[str, Any]]]
Observer = Callable[[], Seen]
Answers = Callable[[], list[dict[str, Any]]]


def _no_environment(self: object) -> None:
    """Set up nothing."""


class Inbox:
    """A callback that keeps what it gets."""

    def __init__(self) -> None:
        self.items: Seen = []

    async def __call__(self, topic: str, data: dict[str, Any]) -> None:
        self.items.append((topic, data))

    def seen(self) -> Seen:
        """Return what has come so far, oldest first."""
        return list(self.items)

    def numbers(self) -> list[int]:
        """Return the value of ``n`` of each message that has one."""
        return numbers(self.items)


class Harness(Declaring):
    """Subclass hooks. ``make`` must be given; the others belong to the abilities that name them."""

    pytestmark = pytest.mark.asyncio

    abilities: ClassVar[frozenset[Ability]] = frozenset()
    """What this connector declares to be able to do; the tests of the rest are skipped."""

    timeout: ClassVar[float] = 30.0
    """Seconds after which what has not happened is a failure; more on a busy machine."""

    environment: Any = pytest.fixture(_no_environment)
    """Override this fixture with one that sets up what ``make`` needs, such as a broker. It ends
    after every connector of the test has been disconnected."""

    async def make(self) -> Connector:
        """Return a new connector, not connected; all of one test reach the same broker."""
        raise NotImplementedError

    async def make_witness(self) -> Connector:
        """Return a connector whose own link ``interrupt`` does not touch."""
        return await self.make()

    async def make_named(self, source_id: str) -> Connector:
        """Return a connector that has this name (``PRESENCE``)."""
        raise NotImplementedError

    async def observe(self, topic_filter: str) -> Observer:
        """Return a function that lists what has arrived for a filter so far, oldest first.

        By default a witness subscribes. A connector without subscribers overrides
        this, to look where its messages go.
        """
        inbox = Inbox()
        witness = await self._opened(await self.make_witness())
        if isinstance(witness, SupportsStatistics):
            # connect() returns without a link on a busy machine: what is sent meanwhile would not be seen
            statistics = witness.statistics
            await self.until(lambda: statistics().linked, "the witness is linked")
        await witness.subscribe(topic_filter, inbox, 1)
        return inbox.seen

    async def send_bytes(self, topic: str, payload: bytes) -> None:
        """Send raw bytes, as a foreign program would (``BYTES``)."""
        raise NotImplementedError

    async def ask(self, topic: str, payload: bytes, *, traceparent: str = "") -> Answers:
        """Send a request, not retained, as a foreign program would that is not behind a link of ``interrupt`` (``REQUESTS``).

        With ``traceparent``, that text is sent beside the payload as the trace of the sender (``TRACES``).
        Return a function that lists the answers to this one request so far, oldest first. If the network has correlation
        data, all requests of a test expect their answers on one topic, so that only this tells them apart.
        """
        raise NotImplementedError

    async def interrupt(self) -> None:
        """Break the link of every connector of ``make``, and prevent new ones (``LINK``)."""
        raise NotImplementedError

    async def silence(self) -> None:
        """Stop all answers of the other side, on existing links and on new ones, which it
        accepts (``LINK``).
        """
        raise NotImplementedError

    async def restore(self) -> None:
        """Permit new links, and carry what they send (``LINK``)."""
        raise NotImplementedError

    def status_of(self, connector: Connector) -> str:
        """Return the topic on which a connector's presence is published (``WILL``, ``PRESENCE``)."""
        raise NotImplementedError

    @pytest_asyncio.fixture(autouse=True)
    async def _leave_none_connected(
        self, _only_what_is_declared: None, environment: object
    ) -> AsyncIterator[None]:
        yield
        try:
            for connector in self._all():
                await self.within(connector.disconnect())
        finally:
            # pytest keeps this object, and asyncio looks at every task that is left
            self._all().clear()

    async def open(self) -> Connector:
        """Return a connected connector, which is disconnected after the test."""
        return await self._opened(await self.make())

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition for at most ``timeout`` seconds."""
        await eventually(condition, self.timeout, what=what)

    async def within(self, action: Any) -> Any:
        """Await an action that must not hang."""
        async with time_limit(self.timeout):
            return await action

    async def at_once(self, action: Coroutine[Any, Any, None]) -> None:
        """Await an action that may take its turns of the event loop, and waits for nothing else."""
        task = asyncio.create_task(action, name="contract-at-once")
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if task.done():
                return await task
        task.cancel()
        await asyncio.wait([task])
        raise AssertionError(f"it was not done within {_TURNS} turns of the event loop")

    async def numbered(self, connector: Connector, topic: str, count: int, *, qos: int = 1) -> None:
        """Publish ``{"n": 0}``, ``{"n": 1}``, ... without a pause."""
        for n in range(count):
            await connector.publish(topic, {"n": n}, qos)

    def topic(self) -> str:
        """Return a topic of this test alone."""
        return unique_topic("contract")

    def _all(self) -> list[Connector]:
        return self.__dict__.setdefault("_connectors", [])  # type: ignore[no-any-return]

    async def _opened(self, connector: Connector) -> Connector:
        self._all().append(connector)
        await connector.connect()
        return connector


def numbers(seen: Seen) -> list[int]:
    """Return the value of ``n`` of each message that has one."""
    return [data["n"] for _, data in seen if "n" in data]
