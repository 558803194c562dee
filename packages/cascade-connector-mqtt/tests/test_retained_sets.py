"""What a watch yields about its retained set, on brokers that keep it, lose it or withhold it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import Complete, Linked, Lost, Message, WatchStream
from cascade.interfaces.topics import canary_topic, sync_filter
from cascade.testkit import Broker, eventually, time_limit
from testing_tools.odd_broker import OddBroker
from testing_tools.recorder import Recorder

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("patient")]

NAME = "press-line-3"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("backoff.SHORTEST_PAUSE", "backoff.LONGEST_PAUSE"):
        monkeypatch.setattr(f"cascade.transport.{pause}", 0.01)


@pytest.fixture
def odd() -> Iterator[OddBroker]:
    with OddBroker() as broker:
        yield broker


def named(broker: Broker | OddBroker, **keywords: Any) -> MqttConnector:
    return MqttConnector(broker.host, broker.port, source_id=NAME, **keywords)


async def item(stream: WatchStream) -> Any:
    async with time_limit(50):
        return await anext(stream)


async def complete(stream: WatchStream) -> tuple[Complete, dict[str, bytes]]:
    """Read up to the next ``Complete``; return it and the messages before it."""
    messages: dict[str, bytes] = {}
    while not isinstance(found := await item(stream), Complete):
        if isinstance(found, Message):
            messages[found.topic] = found.payload
    return found, messages


@pytest.mark.full
@pytest.mark.usefixtures("hasty")
async def test_row_19_a_named_connector_finds_that_the_broker_lost_its_store(fresh_broker: Broker) -> None:
    """mosquitto keeps nothing on disk by default: what was retained is forgotten, not cleared."""
    async with named(fresh_broker) as connector:
        stream = connector.watch("a/#")
        assert (await complete(stream))[0].proved
        for topic in ("a/1", "a/2"):
            await connector.publish(topic, {}, 1, retain=True)
        while await item(stream) != Message("a/2", b"{}", retain=False):
            pass
        fresh_broker.restart(keep_store=False)
        while not isinstance(await item(stream), Lost):
            pass
        both = frozenset({"a/1", "a/2"})
        assert (await complete(stream))[0] == Complete(True, both, both)
        await connector.publish("a/1", {"n": 2}, 1, retain=True)
        await connector.publish("a/2", None, 1, retain=True)
        while await item(stream) != Message("a/2", b"", retain=False):
            pass
        await connector.disconnect()
        await connector.connect()
        while not isinstance(await item(stream), Lost):
            pass
        assert (await complete(stream))[0] == Complete(True, frozenset({"a/1"}))
        await stream.aclose()


async def test_the_canary_and_the_nonces_are_on_the_topics_of_the_name(fresh_broker: Broker) -> None:
    """The canary alone is retained; nonces are random, and a reader of everything does not get them."""
    with Recorder(fresh_broker.host, fresh_broker.port, "cascade/sync/#") as recorder:
        for _ in range(2):
            async with named(fresh_broker) as connector:
                stream = connector.watch("#")
                assert (await complete(stream))[0].proved
                await connector.publish("mine", {})
                while not isinstance(found := await item(stream), Message) or found.topic != "mine":
                    assert not isinstance(found, Message) or not found.topic.startswith("cascade/sync/")
                await stream.aclose()
        await eventually(lambda: len(recorder.messages) >= 4)
    topics = [message.topic for message in recorder.messages]
    assert topics.count(canary_topic(NAME)) == 1
    others = [topic for topic in topics if topic != canary_topic(NAME)]
    assert len(set(others)) == len(others) >= 3
    nonces = {topic.rpartition("/")[2].removesuffix("-last") for topic in others}  # the probe's last one
    assert all(len(nonce) == 16 for nonce in nonces)


async def test_the_nonces_of_a_tool_with_a_user_are_on_the_topics_of_that_user(fresh_broker: Broker) -> None:
    """An access list can permit them; nothing is retained, and two tools of one user do not answer each other."""
    with Recorder(fresh_broker.host, fresh_broker.port, "cascade/sync/#") as recorder:
        async with AsyncExitStack() as stack:
            tools = [
                MqttConnector(
                    fresh_broker.host, fresh_broker.port, presence=False, username="ann", password="x"
                )
                for _ in range(2)
            ]
            for tool in tools:
                await stack.enter_async_context(tool)
            streams = [tool.watch("a") for tool in tools]
            for stream in streams:
                assert (await complete(stream))[0] == Complete(False, frozenset())
                await stream.aclose()
        await eventually(lambda: len(recorder.messages) >= 4)
    topics = [message.topic for message in recorder.messages]
    assert all(topic.startswith("cascade/sync/ann/") for topic in topics)
    assert len(set(topics)) == len(topics)


async def test_row_17_a_broker_that_withholds_retained_messages_is_reported_once(
    odd: OddBroker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning names the broker, the cause and the remedy; a broker that has been corrected ends it."""
    monkeypatch.setattr("cascade.transport.retained_proof.retained_set.RETRY", 0.01)
    monkeypatch.setattr("cascade.transport.retained_proof.retained_set.CANARY_LIMIT", 0.1)
    odd.retained_for_wildcards = False
    async with named(odd) as connector:
        stream = connector.watch("a/exact", "a/#")
        for _ in range(3):
            found, _ = await complete(stream)
            assert not found.proved
        (warning,) = [each for each in caplog.records if each.levelno == logging.WARNING]
        text = warning.getMessage()
        assert text.startswith(f"127.0.0.1:{odd.port}: the broker did not send a retained message")
        assert f"access list allows {sync_filter(NAME)}" in text
        odd.retained_for_wildcards = True
        while not (await complete(stream))[0].proved:
            pass
        await stream.aclose()


async def test_a_broker_that_refuses_the_sync_topics_still_feeds_the_watch(
    odd: OddBroker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader gets ``Linked`` and messages but no ``Complete``; one warning names the refused filter."""
    monkeypatch.setattr("cascade.transport.retained_proof.retained_set.RETRY", 0.01)
    odd.refused_filters = frozenset({sync_filter(NAME)})
    odd.publish("a", b"kept", retain=True)
    async with named(odd) as connector:
        stream = connector.watch("a")
        assert await item(stream) == Linked()
        for _ in range(3):  # each check brings it once more
            assert await item(stream) == Message("a", b"kept", retain=True)
        assert caplog.text.count(f"refuses the subscription to {sync_filter(NAME)}") == 1
        odd.refused_filters = frozenset()
        await complete(stream)
        await stream.aclose()


async def test_two_watches_of_one_connector_are_both_complete(odd: OddBroker) -> None:
    """Row 36: they share a canary, so they check one after the other, also on a broker that answers late."""
    odd.retained_order = "late"
    for topic in ("a/1", "b/1"):
        odd.publish(topic, b"kept", retain=True)
    async with named(odd) as connector:
        one, other = connector.watch("a/#"), connector.watch("b/#")
        assert (await complete(one))[0] == Complete(True, frozenset({"a/1"}))
        assert (await complete(other))[0] == Complete(True, frozenset({"b/1"}))
        assert [("b/#", 0)] in odd.subscribes  # it got its messages before its check began
        await connector.disconnect()
        await connector.connect()
        for stream, topic in ((one, "a/1"), (other, "b/1")):
            while not isinstance(await item(stream), Lost):
                pass
            assert (await complete(stream))[0] == Complete(True, frozenset({topic}))
            await stream.aclose()


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_recheck_leaves_the_subscriptions_of_callbacks_alone(odd: OddBroker, qos: int) -> None:
    """A topic that a callback has too is not unsubscribed, and gets its QoS back."""
    odd.retained_for_wildcards = False
    received: list[dict[str, Any]] = []

    async def callback(topic: str, data: dict[str, Any]) -> None:
        received.append(data)

    connector = MqttConnector(odd.host, odd.port)
    async with connector:
        await connector.subscribe("a/1", callback, qos)
        stream = connector.watch("a/+")
        await complete(stream)
        odd.publish("a/1", b'{"n": 1}', retain=True)
        odd.publish("a/2", b'{"n": 1}', retain=True)
        while not isinstance(found := await item(stream), Message) or found.topic != "a/2":
            pass
        await connector.disconnect()
        odd.publish("a/1", b"", retain=True)
        odd.subscribes.clear()
        await connector.connect()
        while not isinstance(await item(stream), Lost):
            pass
        assert (await complete(stream))[0].topics == frozenset({"a/2"})
        assert [("a/1", 0), ("a/2", 0)] in odd.subscribes
        await eventually(lambda: qos == 0 or odd.subscribes[-1] == [("a/1", qos)])
        await stream.aclose()
        odd.publish("a/1", b'{"n": 2}')
        await eventually(lambda: {"n": 2} in received)
