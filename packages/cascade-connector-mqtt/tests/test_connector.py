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
from pytest_mock import MockerFixture

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import (
    Linked,
    Message,
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


class TestConnecting:
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
            [
                ("cascade/status/press-line-3", 1),
                ("cascade/state/press-line-3/runs", 0),
                ("cascade/state/press-line-3/ended", 0),
            ]
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


def test_no_public_signature_names_a_type_of_the_client_library() -> None:
    """A connector can be exchanged without a change in anybody's annotations."""
    methods: list[Callable[..., object]] = [
        value for name, value in vars(MqttConnector).items() if callable(value) and not name.startswith("__")
    ]
    for method in [*methods, MqttConnector.__init__, MqttConnector.from_url]:
        for annotation in getattr(method, "__annotations__", {}).values():
            assert "aiomqtt" not in str(annotation)
            assert "paho" not in str(annotation)


async def test_a_password_in_clear_is_named_once(
    client_class: MagicMock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many connectors a process has; not with TLS, nor to this machine, nor without a password."""
    monkeypatch.setattr("cascade.transport.credentials._warned", set())
    login: dict[str, Any] = {"username": "ann", "password": "s3cret"}
    for host, keywords in (
        ("broker.example", {**login, "tls_params": aiomqtt.TLSParameters()}),
        ("127.0.0.1", login),
        ("broker.example", {}),
        ("broker.example", login),
        ("other.example", login),
    ):
        connector = MqttConnector(host, **keywords)
        await connector.connect()
        await connector.disconnect()
    text = "the password crosses the network to broker.example without encryption; use TLS"
    assert [record.message for record in caplog.records if "password" in record.message] == [text]
