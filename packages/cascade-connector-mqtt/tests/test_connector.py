"""What MqttConnector says to aiomqtt, exactly, and what it makes of the answers: aiomqtt is mocked."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import platform
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY, AsyncMock, MagicMock, call

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from pytest_mock import MockerFixture

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import (
    ConnectorUnavailable,
    Linked,
    Lost,
    Message,
    WrongThreadError,
)
from cascade.testkit.leaks import no_leaks
from cascade.testkit.waiting import eventually

PATCHED = "cascade.connectors.mqtt.connector.aiomqtt.Client"
LOG = "cascade.connectors.mqtt"


class FakeMessages:
    """``client.messages``: what was put arrives; it never ends of its own accord."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, topic: object, payload: object, *, retain: bool = False) -> None:
        self._queue.put_nowait(SimpleNamespace(topic=topic, payload=payload, retain=retain))

    def fail(self, exc: Exception) -> None:
        self._queue.put_nowait(exc)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        item = await self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item


@pytest.fixture(autouse=True)
def unhurried(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no iteration of the loop end early because the machine was slow in it."""
    monkeypatch.setattr("cascade.transport.event_loop.LOOP_BUDGET", 600.0)
    monkeypatch.setattr("cascade.transport.session.PUBLISHING", 600.0)


@pytest.fixture
def client_class(mocker: MockerFixture) -> MagicMock:
    """The patched class: each call makes one more client, all of them kept in ``made``."""
    patched = mocker.patch(PATCHED)
    patched.made = []

    def make(**_: object) -> MagicMock:
        client = MagicMock(name=f"client {len(patched.made)}")
        client.__aenter__.return_value = client
        client.publish = AsyncMock()
        client.subscribe = AsyncMock()
        client.unsubscribe = AsyncMock()
        client.messages = FakeMessages()
        patched.made.append(client)
        return client

    patched.side_effect = make
    return patched


@pytest.fixture
async def connected(client_class: MagicMock) -> AsyncIterator[MqttConnector]:
    connector = MqttConnector("broker")
    await connector.connect()
    yield connector
    await connector.disconnect()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [each for each in caplog.records if each.name == LOG and each.levelno >= logging.WARNING]
    return [each.getMessage() for each in found]


def forget_clients(client_class: MagicMock) -> None:
    """Let the tasks of a closed loop, which their clients hold, end in the test that they belong to."""
    client_class.made.clear()
    client_class.reset_mock()
    gc.collect()


def blocked(method: AsyncMock) -> asyncio.Event:
    """Let the calls of a method wait until the event is set."""
    release = asyncio.Event()

    async def wait(*_: object, **__: object) -> None:
        await release.wait()

    method.side_effect = wait
    return release


class TestConstruction:
    async def test_an_unnamed_connector_says_exactly_host_port_and_will(
        self, client_class: MagicMock
    ) -> None:
        """Nothing else reaches aiomqtt.Client, and the will is plain, not retained, at QoS 0."""
        connector = MqttConnector(hostname="broker")
        await connector.connect()
        source = f"{platform.node()}-{os.getpid()}"
        client_class.assert_called_once_with(
            hostname="broker",
            port=1883,
            will=aiomqtt.Will(topic=f"cascade/status/{source}", payload='{"status": "offline"}'),
        )
        await connector.disconnect()

    async def test_will_is_looked_up_when_it_is_made(
        self, client_class: MagicMock, mocker: MockerFixture
    ) -> None:
        """A test can replace aiomqtt.Will on the module that the connector imported."""
        will = mocker.patch("cascade.connectors.mqtt.connector.aiomqtt.Will")
        mocker.patch("platform.node", return_value="line 3")
        mocker.patch("os.getpid", return_value=7)
        connector = MqttConnector("broker")
        await connector.connect()
        will.assert_called_once_with(topic="cascade/status/line%203-7", payload='{"status": "offline"}')
        assert client_class.call_args == call(hostname="broker", port=1883, will=will.return_value)
        assert connector.source_id == "line 3-7"
        await connector.disconnect()

    async def test_the_callers_keywords_pass_through(self, client_class: MagicMock) -> None:
        """What aiomqtt.Client takes reaches it as it was given; our own keywords do not."""
        connector = MqttConnector("broker", 8883, username="u", password="p", keepalive=7, drain_timeout=1.0)
        await connector.connect()
        client_class.assert_called_once_with(
            hostname="broker", port=8883, will=ANY, username="u", password="p", keepalive=7
        )
        await connector.disconnect()

    async def test_a_mocked_class_gets_client_id_as_given(self, client_class: MagicMock) -> None:
        """A class without a signature gets the keyword under the name that the caller used."""
        connector = MqttConnector("broker", client_id="me")
        await connector.connect()
        client_class.assert_called_once_with(hostname="broker", port=1883, will=ANY, client_id="me")
        await connector.disconnect()

    async def test_the_real_signature_gets_identifier(self, mocker: MockerFixture) -> None:
        """aiomqtt 2 calls the client id ``identifier``."""
        spied = mocker.patch(PATCHED, autospec=True)
        spied.return_value.messages = FakeMessages()
        connector = MqttConnector("broker", client_id="me")
        await connector.connect()
        spied.assert_called_once_with(hostname="broker", port=1883, will=ANY, identifier="me")
        await connector.disconnect()

    async def test_no_presence_means_no_will_unless_the_caller_has_one(self, client_class: MagicMock) -> None:
        """A tool that watches leaves no trace; its own will is its own business."""
        silent = MqttConnector("broker", presence=False)
        await silent.connect()
        will = aiomqtt.Will("mine")
        own = MqttConnector("broker", presence=False, will=will)
        await own.connect()
        assert client_class.call_args_list == [
            call(hostname="broker", port=1883),
            call(hostname="broker", port=1883, will=will),
        ]
        await silent.disconnect()
        await own.disconnect()

    def test_host_and_port_can_be_read(self) -> None:
        """The address is kept as it was given, and repr shows it with state and counts."""
        connector = MqttConnector("broker", 1884)
        assert (connector.hostname, connector.port, connector.connected) == ("broker", 1884, False)
        assert repr(connector) == (
            "<MqttConnector broker:1884 disconnected, 0 sent, 0 pending, 0 dropped, 0 received>"
        )


class TestConnecting:
    async def test_connect_enters_once_and_keeps_what_that_returns(self, client_class: MagicMock) -> None:
        """A second connect() does nothing."""
        connector = MqttConnector("broker")
        await connector.connect()
        await connector.connect()
        (client,) = client_class.made
        client.__aenter__.assert_awaited_once_with()
        assert connector._client is client
        assert connector.connected
        await connector.disconnect()

    async def test_disconnect_leaves_once(self, client_class: MagicMock) -> None:
        """Twice is harmless, and publish then behaves as before any connect."""
        connector = MqttConnector("broker")
        await connector.connect()
        await connector.disconnect()
        await connector.disconnect()
        (client,) = client_class.made
        client.__aexit__.assert_awaited_once_with(None, None, None)
        assert connector._client is None
        assert not connector.connected
        await connector.publish("a", {})
        await asyncio.sleep(0)
        client.publish.assert_not_awaited()

    async def test_a_failed_attempt_warns_once_and_tries_again_with_a_new_client(
        self, client_class: MagicMock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """connect() returns, one warning names host, port and cause, and the link comes later."""
        monkeypatch.setattr("cascade.transport.backoff.SHORTEST_PAUSE", 0.0)
        monkeypatch.setattr("cascade.transport.backoff.LONGEST_PAUSE", 0.0)
        make = client_class.side_effect

        def refuse_three_times(**keywords: object) -> MagicMock:
            client: MagicMock = make(**keywords)
            if len(client_class.made) <= 3:
                client.__aenter__.side_effect = aiomqtt.MqttError("[Errno 111] Connection refused")
            return client

        client_class.side_effect = refuse_three_times
        connector = MqttConnector("broker")
        await connector.connect()
        assert connector.connected
        assert not connector.statistics().linked
        await connector.publish("a", {"waits": True})
        await eventually(lambda: connector.statistics().sent)
        assert len(client_class.made) == 4
        assert [client.__aenter__.await_count for client in client_class.made] == [1, 1, 1, 1]
        client_class.made[3].publish.assert_awaited_once_with("a", payload='{"waits": true}', qos=0)
        (said,) = warnings_of(caplog)
        assert "broker:1883" in said
        assert "Connection refused" in said
        await connector.disconnect()

    async def test_any_exception_on_entering_is_an_unlinked_connector(self, client_class: MagicMock) -> None:
        """An error that aiomqtt does not know of either is not raised from connect()."""
        client_class.side_effect = None
        client_class.return_value.__aenter__.side_effect = RuntimeError("boom")
        connector = MqttConnector("broker")
        await connector.connect()
        assert connector._client is None
        await connector.disconnect()

    async def test_connect_returns_when_entering_never_does(self, client_class: MagicMock) -> None:
        """The entering task is not cancelled by connect(); disconnect() leaves nothing behind."""
        async with no_leaks():
            client_class.side_effect = None
            release = asyncio.Event()
            client_class.return_value.__aenter__.side_effect = release.wait
            connector = MqttConnector("broker", connect_timeout=0.05)
            await connector.connect()
            entering = [task for task in asyncio.all_tasks() if task.get_name() == "cascade-enter"]
            assert len(entering) == 1
            await connector.disconnect()
            assert not entering[0].cancelled()
            release.set()

    async def test_required_raises_with_host_port_and_cause(self, client_class: MagicMock) -> None:
        """A tool gets an error that it can catch, and nothing is left half-started."""
        async with no_leaks():
            client_class.side_effect = None
            client_class.return_value.__aenter__.side_effect = aiomqtt.MqttError("Connection refused")
            connector = MqttConnector("broker", required=True)
            with pytest.raises(ConnectorUnavailable, match="broker:1883: Connection refused") as caught:
                await connector.connect()
            assert (caught.value.host, caught.value.port) == ("broker", 1883)
            assert not connector.connected


class TestPublishing:
    async def test_publish_directly_after_connect_has_been_awaited_one_turn_later(
        self, client_class: MagicMock
    ) -> None:
        """Nothing has yielded since connect(), and yet one turn of the loop is enough."""
        connector = MqttConnector("broker")
        await connector.connect()
        await connector.publish("a/b", {"x": 1})
        await asyncio.sleep(0)
        client_class.made[0].publish.assert_awaited_once_with("a/b", payload='{"x": 1}', qos=0)
        await connector.disconnect()

    async def test_publish_says_topic_payload_and_qos(
        self, connected: MqttConnector, client_class: MagicMock
    ) -> None:
        """``retain`` is said only when it is asked for."""
        await connected.publish("a", {"x": [1, None, "ü"]}, 1)
        await connected.publish("b", {}, qos=2, retain=True)
        await asyncio.sleep(0)
        assert client_class.made[0].publish.await_args_list == [
            call("a", payload=json.dumps({"x": [1, None, "ü"]}), qos=1),
            call("b", payload="{}", qos=2, retain=True),
        ]

    async def test_none_is_the_empty_message(self, connected: MqttConnector, client_class: MagicMock) -> None:
        """It clears a retained topic."""
        await connected.publish("a", None, retain=True)
        await asyncio.sleep(0)
        client_class.made[0].publish.assert_awaited_once_with("a", payload="", qos=0, retain=True)

    async def test_at_most_twenty_are_in_flight(
        self, connected: MqttConnector, client_class: MagicMock
    ) -> None:
        """The window is 20; the rest waits and is counted as pending."""
        release = blocked(client_class.made[0].publish)
        for _ in range(50):
            await connected.publish("a", {})
        await asyncio.sleep(0)
        assert client_class.made[0].publish.call_count == 20
        assert connected.statistics().pending == 50
        release.set()
        assert await connected.flush(600)

    async def test_before_connect_it_warns_once_and_counts(self, caplog: pytest.LogCaptureFixture) -> None:
        """Without connect(), messages are not kept."""
        connector = MqttConnector("broker")
        await connector.publish("a", {})
        await connector.publish("a", {})
        assert len(warnings_of(caplog)) == 1
        counts = connector.statistics()
        assert (counts.accepted, counts.dropped) == (2, {"not connected": 2})

    async def test_a_failing_publish_is_logged_once_and_counted(
        self, connected: MqttConnector, client_class: MagicMock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An error of aiomqtt for one message does not affect the others and is not raised."""
        client_class.made[0].publish.side_effect = ValueError("Payload too large.")
        for _ in range(3):
            await connected.publish("a", {})
        assert await connected.flush(600)
        assert len(warnings_of(caplog)) == 1
        assert connected.statistics().dropped == {"refused by the client": 3}
        assert connected.statistics().linked

    @pytest.mark.parametrize("call", ["connect", "disconnect", "publish", "subscribe", "watch", "flush"])
    async def test_another_loop_is_refused_by_name(self, connected: MqttConnector, call: str) -> None:
        """The message names both loops and states what to do, for every method that needs the connector's own."""
        calls: dict[str, Callable[[], Any]] = {
            "connect": connected.connect,
            "disconnect": connected.disconnect,
            "publish": lambda: connected.publish("a", {}),
            "subscribe": lambda: connected.subscribe("a", AsyncMock()),
            "watch": lambda: anext(connected.watch("a")),
            "flush": lambda: connected.flush(1),
        }

        async def elsewhere() -> None:
            await calls[call]()

        with pytest.raises(WrongThreadError, match="one connector for each event loop") as caught:
            await asyncio.to_thread(asyncio.run, elsewhere())
        own = asyncio.get_running_loop()
        assert f"{call} was called on the event loop" in str(caught.value)
        assert f"connected on {type(own).__name__} at {id(own):#x} (running)" in str(caught.value)
        assert connected.connected


class TestClosedLoops:
    def test_a_connector_whose_loop_is_closed_is_not_connected(self, client_class: MagicMock) -> None:
        """``asyncio.run(connector.connect())`` leaves no connection; the next loop makes one and sends."""
        connector = MqttConnector("broker")
        asyncio.run(connector.connect())
        assert not connector.connected
        assert not connector.statistics().linked
        assert "disconnected" in repr(connector)
        connector.publish_nowait("a", {})
        assert connector.statistics().dropped == {"not connected": 1}

        async def again() -> None:
            async with connector:
                await connector.publish("a", {"n": 1}, 1)
                assert await connector.flush(600)

        asyncio.run(again())
        client_class.made[1].publish.assert_awaited_once_with("a", payload='{"n": 1}', qos=1)
        assert connector.statistics().connections == 2
        forget_clients(client_class)


class TestSubscribing:
    async def test_subscribe_says_the_filter(self, connected: MqttConnector, client_class: MagicMock) -> None:
        """``qos`` is said only when it is not 0."""
        await connected.subscribe("a/+", AsyncMock())
        await connected.subscribe("b", AsyncMock(), qos=1)
        assert client_class.made[0].subscribe.await_args_list == [call("a/+"), call("b", qos=1)]

    @pytest.mark.parametrize("turns", [0, 10])
    async def test_a_message_that_was_waiting_reaches_a_first_subscription(
        self, client_class: MagicMock, turns: int
    ) -> None:
        """Messages are read after the caller of connect() had a chance to subscribe."""
        connector, callback = MqttConnector("broker"), AsyncMock()
        make = client_class.side_effect

        def with_message(**keywords: object) -> MagicMock:
            client: MagicMock = make(**keywords)
            client.messages.put("a/b", b'{"x": 1}')
            return client

        client_class.side_effect = with_message
        await connector.connect()
        for _ in range(turns):
            await asyncio.sleep(0)
        assert connector.statistics().received == (turns > 0)
        await connector.subscribe("a/#", callback)
        await eventually(lambda: callback.await_count)
        callback.assert_awaited_once_with("a/b", {"x": 1})
        await connector.disconnect()

    @pytest.mark.parametrize(
        ("topic", "payload"),
        [
            ("t", b'{"x": 1}'),
            (aiomqtt.Topic("t"), '{"x": 1}'),
            (MagicMock(__str__=lambda _: "t"), b'{"x": 1}'),
        ],
    )
    async def test_messages_are_decoded_and_delivered(
        self, connected: MqttConnector, client_class: MagicMock, topic: object, payload: object
    ) -> None:
        """Whatever the topic is made of, the callback gets text and a dict."""
        callback = AsyncMock()
        await connected.subscribe("t", callback)
        client_class.made[0].messages.put(topic, payload)
        await eventually(lambda: callback.await_count)
        callback.assert_awaited_once_with("t", {"x": 1})

    async def test_an_iterator_that_ends_is_no_lost_link(
        self, client_class: MagicMock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A mock whose messages end is neither left nor entered again, and nothing spins."""
        make = client_class.side_effect

        async def two() -> AsyncIterator[MagicMock]:
            yield MagicMock(topic="t", payload=b"{}")
            yield MagicMock(topic="t", payload=b"")

        def with_two(**keywords: object) -> MagicMock:
            client: MagicMock = make(**keywords)
            client.messages = two()
            return client

        client_class.side_effect = with_two
        connector, callback = MqttConnector("broker"), AsyncMock()
        await connector.connect()
        await connector.subscribe("t", callback)
        await eventually(lambda: callback.await_count == 2)
        await connector.publish("still", {"there": True})
        assert await connector.flush(600)
        assert connector.statistics().linked
        assert len(client_class.made) == 1
        assert warnings_of(caplog) == []
        await connector.disconnect()

    async def test_a_plain_mock_of_everything_works(self, mocker: MockerFixture) -> None:
        """Nothing is set up but the patch: what a user's own test begins with."""
        mocked = mocker.patch(PATCHED)
        connector = MqttConnector("broker")
        await connector.connect()
        await connector.publish("a", {"x": 1}, qos=1)
        await connector.subscribe("b", AsyncMock())
        await asyncio.sleep(0)
        client = mocked.return_value.__aenter__.return_value
        assert connector._client is client
        await connector.disconnect()
        mocked.return_value.__aexit__.assert_awaited_once_with(None, None, None)

    async def test_subscribe_before_connect_is_sent_on_connecting(self, client_class: MagicMock) -> None:
        """One filter is said as such, several in one packet."""
        one, several = MqttConnector("broker"), MqttConnector("broker")
        await one.subscribe("a", AsyncMock(), qos=1)
        await several.subscribe("a", AsyncMock())
        await several.subscribe("a", AsyncMock(), qos=2)
        await several.subscribe("b/#", AsyncMock(), qos=1)
        await one.connect()
        await several.connect()
        client_class.made[0].subscribe.assert_awaited_once_with("a", qos=1)
        client_class.made[1].subscribe.assert_awaited_once_with([("a", 2), ("b/#", 1)])
        await one.disconnect()
        await several.disconnect()

    async def test_a_further_subscription_subscribes_again(
        self, connected: MqttConnector, client_class: MagicMock
    ) -> None:
        """It does so for the retained messages; a live message reaches each callback once."""
        first, second = AsyncMock(), AsyncMock()
        await connected.subscribe("a", first)
        await connected.subscribe("a", second)
        assert client_class.made[0].subscribe.await_args_list == [call("a"), call("a")]
        client_class.made[0].messages.put("a", b'{"x": 1}')
        await eventually(lambda: first.await_count and second.await_count)
        first.assert_awaited_once_with("a", {"x": 1})
        second.assert_awaited_once_with("a", {"x": 1})

    async def test_the_last_unsubscription_unsubscribes(
        self, connected: MqttConnector, client_class: MagicMock
    ) -> None:
        """The last subscription of a filter unsubscribes at the broker; no callback starts after that."""
        callback = AsyncMock()
        first = await connected.subscribe("a", AsyncMock())
        second = await connected.subscribe("a", callback)
        await first.unsubscribe()
        client_class.made[0].unsubscribe.assert_not_awaited()
        await second.unsubscribe()
        await second.unsubscribe()
        client_class.made[0].unsubscribe.assert_awaited_once_with("a")
        client_class.made[0].messages.put("a", b"{}")
        await eventually(lambda: connected.statistics().received)
        callback.assert_not_awaited()

    @pytest.mark.parametrize("answer", [None, MagicMock(), [MagicMock()], "granted", (0,), [1, 2]])
    async def test_what_is_no_reason_code_refuses_nothing(
        self, connected: MqttConnector, client_class: MagicMock, caplog: pytest.LogCaptureFixture, answer: Any
    ) -> None:
        """A mock's answer does not count as a refusal."""
        client_class.made[0].subscribe.return_value = answer
        await connected.subscribe("a", AsyncMock())
        assert warnings_of(caplog) == []


class TestWatching:
    async def test_watch_subscribes_in_one_packet_and_says_linked(
        self, connected: MqttConnector, client_class: MagicMock
    ) -> None:
        """All filters at QoS 0; then raw messages in order, each once."""
        stream = connected.watch("a/#", "a/b", "c")
        assert await anext(stream) == Linked()
        client_class.made[0].subscribe.assert_awaited_once_with([("a/#", 0), ("a/b", 0), ("c", 0), (ANY, 0)])
        client_class.made[0].messages.put("a/b", b"\xff", retain=True)
        client_class.made[0].messages.put("c", b"")
        assert await anext(stream) == Message("a/b", b"\xff", retain=True)
        assert await anext(stream) == Message("c", b"", retain=False)
        await stream.aclose()
        client_class.made[0].unsubscribe.assert_awaited_once_with(["a/#", "a/b", "c", ANY])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect without a pause, and try at once again what broke a link."""
    for pause in ("backoff.SHORTEST_PAUSE", "backoff.LONGEST_PAUSE", "senders.STEADY_AFTER"):
        monkeypatch.setattr(f"cascade.transport.{pause}", 0.0)


@pytest.mark.usefixtures("quick")
class TestReconnecting:
    async def test_the_birth_does_not_wait_for_the_answer_to_subscribe(self, client_class: MagicMock) -> None:
        """Both leave at once, SUBSCRIBE first: on a distant link each answer takes a round trip."""
        make, answers = client_class.side_effect, []

        def make_silent(**keywords: object) -> MagicMock:
            client: MagicMock = make(**keywords)
            answers.append(blocked(client.subscribe))
            return client

        client_class.side_effect = make_silent
        connector = MqttConnector("broker", source_id="press-line-3")
        connecting = asyncio.create_task(connector.connect())
        await eventually(lambda: client_class.made and client_class.made[0].publish.await_args_list)
        (client,), (answer,) = client_class.made, answers
        own = [("cascade/status/press-line-3", 1), ("cascade/state/press-line-3/runs", 0)]
        client.subscribe.assert_awaited_once_with(own)
        assert client.publish.await_args_list[0].args == ("cascade/status/press-line-3",)
        assert not connecting.done()
        answer.set()
        await connecting
        await connector.disconnect()

    async def test_a_lost_link_is_entered_again_and_all_filters_are_subscribed_to(
        self, connected: MqttConnector, client_class: MagicMock
    ) -> None:
        """A new client, one SUBSCRIBE for all callbacks, one at QoS 0 for each watch, which yields ``Linked``."""
        stream = connected.watch("w/#")
        assert await anext(stream) == Linked()
        await connected.subscribe("a", AsyncMock(), qos=1)
        client_class.made[0].messages.fail(aiomqtt.MqttError("Disconnected during message iteration"))
        assert await anext(stream) == Lost("the link is down")
        assert await anext(stream) == Linked()
        assert client_class.made[1].subscribe.await_args_list == [
            call([("w/#", 0), (ANY, 0)]),
            call("a", qos=1),
        ]
        client_class.made[0].__aexit__.assert_awaited_once_with(None, None, None)
        await stream.aclose()

    async def test_a_message_that_the_broker_forbids_with_a_reason_is_put_aside(
        self, connected: MqttConnector, client_class: MagicMock
    ) -> None:
        """MQTT 5, section 3.14.2.1: "not authorized" is said of the message, and not of who connected."""
        make = client_class.side_effect

        def forbid(client: MagicMock) -> MagicMock:
            async def publish(*_: object, payload: str, **__: object) -> None:
                if "forbidden" in payload:
                    raise aiomqtt.MqttCodeError(ReasonCode(PacketTypes.DISCONNECT, "Not authorized"))

            client.publish.side_effect = publish
            return client

        forbid(client_class.made[0])
        client_class.side_effect = lambda **keywords: forbid(make(**keywords))
        await connected.publish("a", {"forbidden": True}, 1)
        await connected.publish("a", {"n": 1}, 1)
        assert await connected.flush(600)
        assert connected.statistics().dropped == {"broke the link twice": 1}
        assert connected.statistics().sent == 1

    async def test_a_refused_watch_is_told(self, connected: MqttConnector, client_class: MagicMock) -> None:
        """A watch must not report an empty set as complete."""
        client_class.made[0].subscribe.return_value = [0, 0x80]
        stream = connected.watch("a", "secret")
        assert isinstance(await anext(stream), Lost)
        await stream.aclose()

    async def test_a_callback_gets_its_qos_when_the_last_watch_of_its_filter_ends(
        self, connected: MqttConnector, client_class: MagicMock
    ) -> None:
        """A watched filter is subscribed at QoS 0 for as long as the watch lasts."""
        stream = connected.watch("a", "b")
        await connected.subscribe("a", AsyncMock(), qos=1)
        subscribe = client_class.made[0].subscribe
        assert call("a") == subscribe.await_args
        await stream.aclose()
        subscribe.assert_awaited_with([("a", 1)])
        client_class.made[0].unsubscribe.assert_awaited_once_with(["b", ANY])


class TestLoops:
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a closed loop's tasks
    def test_a_loop_that_was_closed_over_a_session_is_forgotten_with_all_that_was_under_way(
        self, client_class: MagicMock
    ) -> None:
        """Messages in flight go out again, and callbacks and watches hear what comes on another loop."""
        connector, idle, busy = MqttConnector("broker"), AsyncMock(), AsyncMock()

        async def begin() -> None:
            await connector.connect()
            await connector.subscribe("idle", idle)
            await connector.subscribe("busy", busy)
            busy.side_effect = asyncio.Event().wait
            for topic in ("idle", "busy"):
                client_class.made[0].messages.put(topic, b"{}")
            await eventually(lambda: idle.await_count and busy.await_count)
            blocked(client_class.made[0].publish)
            for number in range(30):
                await connector.publish("a", {"n": number}, 1)
            await asyncio.sleep(0)

        async def again() -> None:
            busy.side_effect = None
            await connector.connect()
            assert await connector.flush(600)
            for topic in ("idle", "busy"):
                client_class.made[1].messages.put(topic, b"{}")
            await eventually(lambda: idle.await_count == 2 and busy.await_count == 2)
            await connector.disconnect()

        closed = asyncio.new_event_loop()
        closed.run_until_complete(begin())
        closed.close()
        asyncio.run(again())
        published = client_class.made[1].publish.await_args_list
        assert [json.loads(each.kwargs["payload"])["n"] for each in published] == list(range(30))
        assert len(client_class.made) == 2
        forget_clients(client_class)

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_watch_outlives_a_loop_that_was_closed_over_it(self, client_class: MagicMock) -> None:
        """A watch that is read on another loop reports the next link."""
        connector = MqttConnector("broker")
        stream = connector.watch("a")
        reading: list[asyncio.Task[object]] = []

        async def begin() -> None:
            await connector.connect()
            assert await anext(stream) == Linked()
            reading.append(asyncio.create_task(stream.__anext__()))
            await asyncio.sleep(0)

        async def again() -> None:
            await connector.connect()
            assert await anext(stream) == Linked()
            await stream.aclose()
            await connector.disconnect()

        closed = asyncio.new_event_loop()
        closed.run_until_complete(begin())
        closed.close()
        asyncio.run(again())
        reading.clear()
        forget_clients(client_class)


class TestNamed:
    async def test_birth_will_and_goodbye_are_of_one_session(self, client_class: MagicMock) -> None:
        """The will is retained at QoS 1; the birth follows the connection; the offline message precedes the end."""
        connector = MqttConnector("broker", source_id="press-line-3")
        await connector.connect()
        (client,) = client_class.made
        will = client_class.call_args.kwargs["will"]
        session = json.loads(will.payload)["session"]
        assert client_class.call_args == call(
            hostname="broker",
            port=1883,
            client_id="press-line-3",
            will=aiomqtt.Will(
                topic="cascade/status/press-line-3",
                payload=json.dumps({"status": "offline", "session": session}),
                qos=1,
                retain=True,
            ),
        )
        client.subscribe.assert_awaited_once_with(
            [("cascade/status/press-line-3", 1), ("cascade/state/press-line-3/runs", 0)]
        )
        birth, *reports = client.publish.await_args_list
        assert [each.args for each in reports] == [
            ("cascade/state/press-line-3/constraints",),
            ("cascade/state/press-line-3/runs",),
        ]
        assert birth == call("cascade/status/press-line-3", payload=ANY, qos=1, retain=True)
        assert json.loads(birth.kwargs["payload"]) == {
            "status": "online",
            "session": session,
            "ts": ANY,
            "pid": os.getpid(),
            "host": platform.node(),
            "version": ANY,
        }
        await connector.disconnect()
        assert client.publish.await_args == call(
            "cascade/status/press-line-3",
            payload=json.dumps({"status": "offline", "session": session, "reason": "ended"}),
            qos=1,
            retain=True,
        )
        client.__aexit__.assert_awaited_once_with(None, None, None)

    async def test_every_link_begins_with_a_birth_of_its_own(self, client_class: MagicMock) -> None:
        """Whether or not the will of the one before is ever heard."""
        connector = MqttConnector("broker", source_id="press-line-3")
        await connector.connect()
        client_class.made[0].messages.fail(aiomqtt.MqttError("gone"))
        await eventually(lambda: len(client_class.made) == 2 and client_class.made[1].publish.await_count)
        births = [
            json.loads(client.publish.await_args_list[0].kwargs["payload"]) for client in client_class.made
        ]
        assert [birth["status"] for birth in births] == ["online", "online"]
        assert len({birth["session"] for birth in births}) == 2
        await connector.disconnect()


def test_no_public_signature_names_a_type_of_the_client_library() -> None:
    """A connector can be exchanged without a change in anybody's annotations."""
    methods: list[Callable[..., object]] = [
        value for name, value in vars(MqttConnector).items() if callable(value) and not name.startswith("__")
    ]
    for method in [*methods, MqttConnector.__init__, MqttConnector.from_url]:
        for annotation in getattr(method, "__annotations__", {}).values():
            assert "aiomqtt" not in str(annotation)
            assert "paho" not in str(annotation)
