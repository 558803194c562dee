"""What connectors inside one process deliver, count and log, where several connectors, or several queues, share a hub."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from cascade.interfaces import (
    Complete,
    Delivery,
    InvalidTopicError,
    Linked,
    Lost,
    Message,
    WrongThreadError,
)
from cascade.runtime import LocalConnector, LocalHub
from cascade.testkit import eventually


class Inbox:
    """What a callback got."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, topic: str, data: dict[str, Any]) -> None:
        self.got.append((topic, data))


async def read(stream: Any, *, until: type = Complete) -> list[Any]:
    """Return the next items of a watch, up to one of a kind."""
    found: list[Any] = []
    async with asyncio.timeout(60):
        while not found or not isinstance(found[-1], until):
            found.append(await anext(stream))
    return found


def retained(topic: str, payload: bytes = b"1") -> Message:
    return Message(topic, payload, retain=True)


def live(topic: str, payload: bytes) -> Message:
    return Message(topic, payload, retain=False)


def complete(*topics: str) -> Complete:
    return Complete(True, frozenset(topics))


@pytest.fixture
def hub() -> LocalHub:
    """A hub that keeps three topics."""
    made = LocalHub()
    for topic in ("a/1", "b/1", "a/2"):
        made.publish(topic, b"1", retain=True)
    return made


async def test_a_watch_that_has_lost_messages_gets_its_set_again_and_no_other_one_does(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The set that it had not read yet is not complete any more."""
    monkeypatch.setattr("cascade.transport.incoming.watches.WATCH_MESSAGES", 10)
    async with LocalConnector(hub) as connector:
        slow, other = connector.watch("#"), connector.watch("b/+")
        assert await read(other) == [Linked(), retained("b/1"), complete("b/1")]
        for n in range(20):
            hub.publish("x", b"%d" % n)
        await eventually(lambda: connector.statistics().received == 4 + 20)
        lost = await read(slow)
        assert isinstance(lost[0], Lost)
        assert lost[1] == Linked()
        assert lost[-4:] == [retained("a/1"), retained("b/1"), retained("a/2"), complete("a/1", "b/1", "a/2")]
        assert {each.topic for each in lost[2:-4]} == {"x"}
        hub.publish("b/1", b"2")
        assert await anext(other) == live("b/1", b"2")
        assert connector.statistics().discarded["queue full"] > 0
        await slow.aclose()
        await other.aclose()


async def test_a_delivery_is_settled_at_once_and_not_kept(hub: LocalHub) -> None:
    """Without a connection it is returned."""
    settled: list[Delivery] = []
    connector, stream = LocalConnector(hub), LocalConnector(hub)
    connector.deliver_nowait("x", '{"n": 0}', settled=settled.append)
    async with connector, stream:
        watch = stream.watch("x")
        connector.deliver_nowait("x", '{"n": 1}', settled=settled.append)
        assert settled == [Delivery.RETURNED, Delivery.TAKEN]
        assert (await read(watch, until=Message))[-1] == live("x", b'{"n": 1}')
        late = stream.watch("x")
        assert await read(late) == [Linked(), complete()]
        assert connector.statistics().accepted == 1
        with pytest.raises(InvalidTopicError):
            connector.deliver_nowait("x/+", "{}", settled=settled.append)
        assert len(settled) == 2
        await watch.aclose()
        await late.aclose()


async def test_messages_of_another_thread_wake_the_loop(hub: LocalHub) -> None:
    """Those of a thread without a loop, and those of one with a loop of its own."""
    inbox = Inbox()

    async def publish() -> None:
        async with LocalConnector(hub) as connector:
            await connector.publish("x", {"n": 2})

    def threads() -> Iterator[threading.Thread]:
        yield threading.Thread(target=hub.publish, args=("x", b'{"n": 1}'))
        yield threading.Thread(target=lambda: asyncio.run(publish()))

    async with LocalConnector(hub) as connector:
        await connector.subscribe("x", inbox)
        for count, thread in enumerate(threads(), 1):
            thread.start()
            await eventually(lambda: len(inbox.got) == count)  # noqa: B023
            await asyncio.to_thread(thread.join)
    assert [data["n"] for _, data in inbox.got] == [1, 2]


async def test_a_call_from_elsewhere_names_itself(hub: LocalHub) -> None:
    """From a thread without a loop, and from another loop."""
    async with LocalConnector(hub) as connector:
        inbox = Inbox()
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "connect": connector.connect,
            "disconnect": connector.disconnect,
            "publish": partial(connector.publish, "a", {}),
            "subscribe": partial(connector.subscribe, "a", inbox),
        }
        for name, call in calls.items():
            with pytest.raises(WrongThreadError) as raised:
                await asyncio.to_thread(asyncio.run, _await(call))
            assert raised.value.operation == name
        direct: dict[str, Callable[[], object]] = {
            "publish": partial(connector.publish_nowait, "a", {}),
            "deliver_nowait": partial(connector.deliver_nowait, "a", "{}", settled=print),
            "watch": partial(connector.watch, "a"),
        }
        for name, function in direct.items():
            with pytest.raises(WrongThreadError) as raised:
                await asyncio.to_thread(function)
            assert raised.value.operation == name
        assert connector.connected
        assert connector.statistics().accepted == 0


async def _await(call: Callable[[], Awaitable[object]]) -> None:
    await call()
