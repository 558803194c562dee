"""What brokers and networks do to a connector, one fault after the other, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import AsyncMock

import aiomqtt
import pytest
import pytest_asyncio

from cascade.connectors.mqtt import MqttConnector, _aiomqtt_internals
from cascade.interfaces import ConnectorUnavailable
from cascade.interfaces.topics import status_topic
from cascade.testkit import Broker, Mosquitto, NatsServer, eventually, no_leaks, time_limit, unique_topic
from cascade.testkit.chaos import ChaosProxy, Direction
from cascade.testkit.fixtures import require_mosquitto
from testing_tools.odd_broker import OddBroker
from testing_tools.recorder import Recorder

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("patient")]

LOG = "cascade.connectors.mqtt"
BOUND = 60.0
"""Seconds within which everything here must have happened; generous, because machines are slow."""
AGES = 600.0


@pytest.fixture
def recorder(fresh_broker: Broker) -> Iterator[Recorder]:
    with Recorder(fresh_broker.host, fresh_broker.port, "#") as started:
        yield started


def numbers(recorder: Recorder, topic: str) -> list[int]:
    """Return the numbers that have come on a topic, with every second copy."""
    return [message.json()["n"] for message in recorder.of(topic)]


def first_copies(recorder: Recorder, topic: str) -> list[int]:
    return list(dict.fromkeys(numbers(recorder, topic)))


def statuses(recorder: Recorder, name: str) -> list[dict[str, Any]]:
    """Return what was said on the status topic of one name."""
    return [message.json() for message in recorder.of(status_topic(name))]


@pytest_asyncio.fixture
async def proxy(fresh_broker: Broker) -> AsyncIterator[ChaosProxy]:
    async with ChaosProxy(fresh_broker.port) as made:
        yield made


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        each.getMessage()
        for each in caplog.records
        if each.levelno >= logging.WARNING and each.name in (LOG, "mqtt", "asyncio")
    ]


def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try lost links again almost at once, and a message that broke one soon after."""
    for pause in ("backoff.SHORTEST_PAUSE", "backoff.LONGEST_PAUSE", "senders.STEADY_AFTER"):
        monkeypatch.setattr(f"cascade.transport.{pause}", 0.01)


def names_of_tasks() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks()}


async def numbered(connector: MqttConnector, topic: str, count: int, *, start: int = 0) -> None:
    for number in range(start, start + count):
        await connector.publish(topic, {"n": number}, 1)


def balanced(connector: MqttConnector) -> bool:
    counts = connector.statistics()
    return counts.accepted == counts.sent + counts.pending + sum(counts.dropped.values())


class TestNoBroker:
    """Rows 1 to 4: no broker, no answer, a refusal."""

    async def test_row_1_refused_then_there(
        self, fresh_broker: Broker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """connect() returns, one warning tells why, and messages go out when the broker is there."""
        fresh_broker.terminate()
        connector = MqttConnector(fresh_broker.host, fresh_broker.port)
        async with time_limit(BOUND):
            await connector.connect()
        await numbered(connector, "a", 100)
        fresh_broker.restart()
        assert await connector.flush(AGES)
        assert connector.statistics().sent == 100
        (said,) = warnings_of(caplog)
        assert f"127.0.0.1:{fresh_broker.port}" in said
        assert "check that the broker runs" in said
        await connector.disconnect()

    async def test_row_1_unknown_host(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An unknown host name is reported as such, once."""

        def look_up(*_: object, **__: object) -> None:  # the system's own may ask a network, for seconds
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        async with time_limit(BOUND), no_leaks(), MqttConnector("no-such-host.invalid"):
            pass
        (said,) = warnings_of(caplog)
        assert "no-such-host.invalid:1883: the host name is unknown" in said

    async def test_a_connector_that_ended_while_its_host_name_was_looked_up_sends_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The look-up goes on in its thread; a CONNECT after it would open a session that nobody ends."""
        found, received = threading.Event(), asyncio.Queue[bytes]()

        async def note(stream: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
            received.put_nowait(await stream.read())
            out.close()

        server = await asyncio.start_server(note, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()

        def look_up(*_: object, **__: object) -> list[Any]:
            found.wait(BOUND)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

        with monkeypatch.context() as patched:
            patched.setattr(socket, "getaddrinfo", look_up)
            async with time_limit(BOUND), no_leaks(4.0):
                async with MqttConnector("slow.invalid", connect_timeout=0.1):
                    pass
                found.set()
                assert await received.get() == b""
        server.close()

    async def test_row_2_swallows_packets(
        self, swallowing_port: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An address that never answers holds neither connect nor disconnect nor the end of the loop; one line."""
        async with time_limit(BOUND), no_leaks(4.0):  # the client's own limit is 5 s, in a thread
            connector = MqttConnector("127.0.0.1", swallowing_port, connect_timeout=0.3)
            await connector.connect()
            await connector.disconnect()
        (said,) = warnings_of(caplog)
        assert f"127.0.0.1:{swallowing_port}" in said
        assert "firewall" in said

    async def test_row_2_speaks_http(self, caplog: pytest.LogCaptureFixture) -> None:
        """One line says that a web server is not a broker."""

        async def answer(stream: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
            await stream.read(10)
            out.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            await out.drain()
            out.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with time_limit(BOUND), no_leaks():
            with pytest.raises(ConnectorUnavailable, match=f"127.0.0.1:{port}") as caught:
                await MqttConnector("127.0.0.1", port, required=True).connect()
        assert "MQTT" in str(caught.value)
        server.close()

    async def test_row_3_a_silent_attempt_is_followed_by_a_good_one(
        self, proxy: ChaosProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every attempt has a client of its own; the messages of a failed one are not sent by it."""
        hasten(monkeypatch)
        proxy.stall()
        connector = MqttConnector(proxy.host, proxy.port, connect_timeout=0.3)
        await connector.connect()
        await numbered(connector, "a", 10)
        await eventually(lambda: proxy.accepted >= 2, BOUND)
        proxy.resume()
        await proxy.cut()
        assert await connector.flush(AGES)
        assert connector.statistics().sent == 10
        await connector.disconnect()

    async def test_row_4_wrong_password(self, caplog: pytest.LogCaptureFixture) -> None:
        """One clear line, no password in it, and a slow retry; a tool gets an error."""
        require_mosquitto()
        with Mosquitto(users={"press": "right"}) as broker:
            async with MqttConnector(broker.host, broker.port, username="press", password="wr0ng"):
                (said,) = warnings_of(caplog)
                assert "user name" in said
                assert "every 30 s" in said
                assert "wr0ng" not in caplog.text
            with pytest.raises(ConnectorUnavailable, match="password"):
                await MqttConnector(
                    broker.host, broker.port, username="press", password="wr0ng", required=True
                ).connect()
            url = f"mqtt://press:right@{broker.host}:{broker.port}"
            async with MqttConnector.from_url(url, required=True) as connector:
                assert connector.statistics().linked

    @pytest.mark.parametrize(
        ("code", "text"),
        [
            (1, "the broker does not speak this version of MQTT; pass protocol="),
            (2, "the broker refuses the client id; pass another client_id= or source_id="),
            (3, "the broker is not available yet"),
            (4, "no password was given: set CASCADE_MQTT_PASSWORD"),
            (5, "no password was given: set CASCADE_MQTT_PASSWORD"),
        ],
    )
    async def test_row_4_each_refusal_of_the_broker_has_its_text(self, code: int, text: str) -> None:
        """The return code of its CONNACK is explained, also those that the client library keeps to itself."""
        with OddBroker(connect_code=code) as broker:
            connector = MqttConnector.from_url(f"mqtt://ada@{broker.host}:{broker.port}", required=True)
            async with time_limit(BOUND), no_leaks():
                with pytest.raises(ConnectorUnavailable, match=re.escape(text)):
                    await connector.connect()
        assert broker.connects == 1


class TestLostLinks:
    """Rows 5 to 10 and 12: the link goes, or is none."""

    @pytest.mark.parametrize("how", ["terminate", "kill"])
    async def test_row_5_broker_restarted(
        self, fresh_broker: Broker, caplog: pytest.LogCaptureFixture, how: str
    ) -> None:
        """It comes back, subscribes again and sends in order what waited; two lines in the log."""
        topic, heard = unique_topic(), []

        async def hear(_topic: str, data: dict[str, Any]) -> None:
            heard.append(data["n"])

        async with MqttConnector(fresh_broker.host, fresh_broker.port) as connector:
            await connector.subscribe(topic, hear, 1)
            getattr(fresh_broker, how)()
            await eventually(lambda: not connector.statistics().linked, BOUND)
            await numbered(connector, topic, 500)
            fresh_broker.restart()
            await eventually(lambda: len(set(heard)) == 500, BOUND)
            assert list(dict.fromkeys(heard)) == list(range(500))
            assert connector.statistics().connections == 2
        (said,) = warnings_of(caplog)
        assert f"127.0.0.1:{fresh_broker.port}" in said

    @pytest.mark.full
    @pytest.mark.parametrize("how", ["cut", "reset"])
    async def test_row_5_a_link_that_ends_is_told_in_one_line(
        self, proxy: ChaosProxy, caplog: pytest.LogCaptureFixture, how: str
    ) -> None:
        """Host, port and cause are in it, also if a call notices first; no library adds a line of its own."""
        async with MqttConnector(proxy.host, proxy.port) as connector:
            await getattr(proxy, how)()
            await connector.publish("a", {})
            await eventually(lambda: connector.statistics().connections == 2, BOUND)
        (said,) = warnings_of(caplog)
        assert f"lost the connection to {proxy.host}:{proxy.port}: the broker closed the connection" in said
        assert ("reset by peer" in said) == (how == "reset")

    @pytest.mark.full
    async def test_row_6_half_open(self, proxy: ChaosProxy) -> None:
        """A link that no longer carries anything is given up after two keepalive times."""
        async with MqttConnector(proxy.host, proxy.port, keepalive=1) as connector:
            proxy.stall()
            await eventually(lambda: not connector.statistics().linked, BOUND)
            proxy.resume()
            await eventually(lambda: connector.statistics().linked, BOUND)

    @pytest.mark.usefixtures("hasty_end")
    async def test_row_7_broker_does_not_read(self, fresh_broker: Broker) -> None:
        """The outbox stays within its bounds, what is dropped is counted, disconnect returns."""
        connector = MqttConnector(fresh_broker.host, fresh_broker.port, outbox_bytes=100_000)
        await connector.connect()
        fresh_broker.freeze()
        for _ in range(200):
            await connector.publish("a", {"text": "x" * 10_000})
        counts = connector.statistics()
        assert counts.dropped["outbox full"] > 0
        assert counts.pending <= 10 + 20
        assert balanced(connector)
        async with time_limit(BOUND), no_leaks():
            await connector.disconnect()
        assert connector.statistics().pending == 0
        assert balanced(connector)
        fresh_broker.thaw()

    @pytest.mark.usefixtures("hasty_end")
    async def test_row_7_a_link_that_takes_no_byte_more_is_left(
        self, fresh_broker: Broker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The offline message does not fit into the socket: disconnect closes it in time and leaves nothing."""
        async with time_limit(BOUND), no_leaks():
            connector = MqttConnector(fresh_broker.host, fresh_broker.port)
            await connector.connect()
            fresh_broker.freeze()
            for _ in range(20):
                await connector.publish("a", {"text": "x" * 1_000_000}, 1)
            await connector.disconnect()
        fresh_broker.thaw()
        assert sum(connector.statistics().dropped.values()) == 20
        (said,) = warnings_of(caplog)
        assert "20 unsent at disconnect" in said

    @pytest.mark.full
    @pytest.mark.parametrize("gathered", [False, True], ids=["in a row", "gathered"])
    async def test_row_8_a_burst_arrives_whole_and_others_get_their_turns(
        self, fresh_broker: Broker, recorder: Recorder, gathered: bool
    ) -> None:
        """10,000 publishes: the loop goes round meanwhile, and everything arrives in order."""
        topic, turns = unique_topic(), 0
        async with MqttConnector(fresh_broker.host, fresh_broker.port) as connector:
            burst = asyncio.create_task(self._burst(connector, topic, gathered=gathered))
            while not burst.done():
                turns += 1
                await asyncio.sleep(0)
            await burst
            assert turns > 3
            assert await connector.flush(AGES)
            assert connector.statistics().sent == 10_000
        await eventually(lambda: len(recorder.of(topic)) == 10_000, BOUND)
        assert numbers(recorder, topic) == list(range(10_000))

    async def _burst(self, connector: MqttConnector, topic: str, *, gathered: bool) -> None:
        calls = (connector.publish(topic, {"n": number}, 1) for number in range(10_000))
        if gathered:
            await asyncio.gather(*calls)
        else:
            for call in calls:
                await call

    @pytest.mark.usefixtures("hasty_end")
    async def test_row_9_what_cannot_be_drained_is_told_once(
        self, proxy: ChaosProxy, caplog: pytest.LogCaptureFixture
    ) -> None:
        """On a link that carries nothing, disconnect gives up long before its time and says how many were lost."""
        connector = MqttConnector(proxy.host, proxy.port, drain_timeout=AGES)
        await connector.connect()
        proxy.stall()
        await numbered(connector, "a", 500)
        async with time_limit(BOUND), no_leaks():
            await connector.disconnect()
        assert connector.statistics().dropped == {"unsent at disconnect": 500}
        (said,) = warnings_of(caplog)
        assert "500 unsent at disconnect" in said

    async def test_row_10_what_did_not_get_there_is_sent_before_what_waits(
        self, proxy: ChaosProxy, recorder: Recorder
    ) -> None:
        """A link that swallows what is in flight costs neither a message nor the order."""
        topic = unique_topic()
        async with MqttConnector(proxy.host, proxy.port) as connector:
            proxy.stall(Direction.UP)
            await numbered(connector, topic, 100)
            await eventually(lambda: connector.statistics().pending == 100, BOUND)
            await proxy.reset()
            proxy.resume()
            assert await connector.flush(AGES)
        await eventually(lambda: len(first_copies(recorder, topic)) == 100, BOUND)
        assert first_copies(recorder, topic) == list(range(100))

    async def test_row_10_in_flight_is_sent_again(self, proxy: ChaosProxy, recorder: Recorder) -> None:
        """What the broker got but could not acknowledge comes twice; nothing is lost, order holds."""
        topic = unique_topic()
        async with MqttConnector(proxy.host, proxy.port) as connector:
            proxy.stall(Direction.DOWN)
            await numbered(connector, topic, 100)
            await eventually(lambda: len(recorder.of(topic)) >= 20, BOUND)
            await proxy.reset()
            proxy.resume()
            assert await connector.flush(AGES)
            assert connector.statistics().sent == 100
        await eventually(lambda: len(first_copies(recorder, topic)) == 100, BOUND)
        assert first_copies(recorder, topic) == list(range(100))
        assert len(recorder.of(topic)) > 100

    @pytest.mark.parametrize("version", ["V311", "V5"])
    async def test_row_11_what_the_access_list_forbids_costs_nothing_else(
        self, monkeypatch: pytest.MonkeyPatch, version: str
    ) -> None:
        """All that is allowed arrives in order, also where the broker hangs up; where it tells why, that is counted."""
        require_mosquitto()
        hasten(monkeypatch)
        protocol, user = aiomqtt.ProtocolVersion[version], {"username": "press", "password": "right"}
        acl = ["user press", "topic readwrite allowed", "topic read #"]
        with Mosquitto(users={"press": "right"}, acl=acl) as broker:
            with Recorder(broker.host, broker.port, **user) as recorder:
                async with MqttConnector(broker.host, broker.port, protocol=protocol, **user) as connector:
                    for number in range(5):
                        await connector.publish("denied", {"n": -1}, 1)
                        await connector.publish("allowed", {"n": number}, 1)
                    assert await connector.flush(AGES)
                await eventually(lambda: len(first_copies(recorder, "allowed")) == 5, BOUND)
            assert first_copies(recorder, "allowed") == list(range(5))
            assert recorder.of("denied") == []
            assert connector.statistics().dropped == ({"refused by the broker": 5} if version == "V5" else {})

    async def test_row_12_a_message_over_the_brokers_limit_is_put_aside(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It breaks the link, twice; then it is counted and named, and all others arrive."""
        require_mosquitto()
        hasten(monkeypatch)
        with Mosquitto(lines=["max_packet_size 5000"]) as broker:
            topic = unique_topic()
            with Recorder(broker.host, broker.port, topic) as recorder:
                async with MqttConnector(broker.host, broker.port) as connector:
                    await numbered(connector, topic, 30)
                    await connector.publish(topic, {"n": -1, "text": "x" * 10_000}, 1)
                    await numbered(connector, topic, 30, start=30)
                    assert await connector.flush(AGES)
                    assert connector.statistics().dropped == {"broke the link twice": 1}
                await eventually(lambda: len(first_copies(recorder, topic)) == 60, BOUND)
            assert first_copies(recorder, topic) == list(range(60))
        assert sum("put aside" in said for said in warnings_of(caplog)) == 1

    @pytest.mark.full
    @pytest.mark.parametrize("fault", ["none", "cut", "restart"])
    async def test_row_37_a_distant_broker_gets_everything(
        self, fresh_broker: Broker, proxy: ChaosProxy, recorder: Recorder, fault: str
    ) -> None:
        """The round trip takes 200 ms: more messages are in flight, also after a lost link, and none is lost."""
        topic, count = unique_topic(), 4_000
        proxy.delay(0.1)
        connector = MqttConnector(proxy.host, proxy.port, drain_timeout=AGES)
        await connector.connect()
        await eventually(lambda: connector.statistics().linked, BOUND)
        await numbered(connector, topic, count)
        await eventually(lambda: connector.statistics().sent >= 400, BOUND)
        if fault == "cut":
            await proxy.cut()
        elif fault == "restart":
            fresh_broker.restart()
        await connector.disconnect()
        counts = connector.statistics()
        assert (counts.sent, counts.dropped) == (count, {})
        assert counts.connections == (1 if fault == "none" else 2)
        if fault != "restart":  # it forgets what the recorder did not get yet
            await eventually(lambda: len(first_copies(recorder, topic)) == count, BOUND)
            assert first_copies(recorder, topic) == list(range(count))

    async def test_row_38_a_broker_that_was_there_a_moment_ago_is_waited_for(
        self, fresh_broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is away when disconnect is called, and back before drain_timeout: everything is sent."""
        monkeypatch.setattr("cascade.transport.waiting.NO_LINK", 0.0)
        connector = MqttConnector(fresh_broker.host, fresh_broker.port, drain_timeout=AGES)
        await connector.connect()
        fresh_broker.terminate()
        await eventually(lambda: not connector.statistics().linked, BOUND)
        await numbered(connector, "a", 500)
        leaving = asyncio.create_task(connector.disconnect())
        await eventually(lambda: not connector.connected, BOUND)
        fresh_broker.restart()
        await leaving
        counts = connector.statistics()
        assert (counts.sent, counts.dropped) == (500, {})

    @pytest.mark.parametrize("copies", [False, True])
    async def test_row_16_equal_messages_arrive_although_the_broker_refused_one_of_two_filters(
        self, copies: bool
    ) -> None:
        """The refused filter brings no copy of a message, so an equal one that follows is none either."""
        received = list[str]()

        async def receive(topic: str, _data: dict[str, Any]) -> None:
            received.append(topic)

        with OddBroker(copies=copies, refused_filters=frozenset({"a/#"})) as broker:
            async with MqttConnector(broker.host, broker.port) as connector:
                for topic_filter in ("a/b", "a/#", "last"):
                    await connector.subscribe(topic_filter, receive, 1)
                assert connector.statistics().refused == {"a/#": 128}
                for topic in ("a/b", "a/b", "a/b", "last"):
                    await connector.publish(topic, {}, 1)
                await eventually(lambda: "last" in received, BOUND)
        assert sorted(received) == ["a/b", "a/b", "a/b", "a/b", "a/b", "a/b", "last"]

    @pytest.mark.parametrize("watched", [False, True])
    async def test_what_the_broker_refuses_is_known_when_connect_returns(self, watched: bool) -> None:
        """However long it takes to answer."""
        with OddBroker(refused_filters=frozenset({"a/#"}), ack_delay=0.2) as broker:
            connector = MqttConnector(broker.host, broker.port)
            stream = connector.watch("a/#")
            if not watched:
                await stream.aclose()
                await connector.subscribe("a/#", AsyncMock())
            await connector.connect()
            assert connector.statistics().refused == {"a/#": 128}
            await connector.disconnect()

    async def test_a_message_whose_topic_is_none_costs_nothing_else(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is discarded and counted, with one line in the log; the link stays, and other messages arrive."""
        received = list[str]()

        async def receive(topic: str, _data: dict[str, Any]) -> None:
            received.append(topic)

        async with await asyncio.start_server(_send_odd_topics, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with MqttConnector("127.0.0.1", port) as connector:
                await connector.subscribe("#", receive)
                await eventually(lambda: received, BOUND)
                counts = connector.statistics()
                assert (received, counts.connections, counts.linked) == (["good"], 1, True)
                assert counts.discarded == {"undecodable": 4}
        (line,) = warnings_of(caplog)
        assert "not UTF-8, or have a + or #" in line


class TestPresence:
    """Rows 20 to 22, 34 and 35: presence and client ids."""

    async def test_row_20_two_of_one_name_back_off_and_say_so(
        self,
        fresh_broker: Broker,
        closed_port: int,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """After more than three take-overs within a minute one shouts and lets the other one be."""
        hasten(monkeypatch)
        monkeypatch.setattr("cascade.transport.backoff.SLOW_PAUSE", AGES)
        one = MqttConnector(fresh_broker.host, fresh_broker.port, source_id="twin", drain_timeout=0)
        two = MqttConnector(fresh_broker.host, fresh_broker.port, source_id="twin", drain_timeout=0)

        def links() -> int:
            return one.statistics().connections + two.statistics().connections

        async with one, two, ChaosProxy(closed_port) as hanging_up:
            await eventually(lambda: "another process uses the name twin" in caplog.text, BOUND)
            await eventually(lambda: one.statistics().linked != two.statistics().linked, BOUND)
            before = links()
            async with MqttConnector(hanging_up.host, hanging_up.port):
                await eventually(lambda: hanging_up.accepted >= 20, BOUND)
            assert links() == before <= 14

    @pytest.mark.parametrize("keywords", [{}, {"protocol": "5"}, {"presence": False}, {"busy": True}])
    async def test_row_20_two_of_one_client_id_back_off_and_say_so(
        self,
        keywords: dict[str, Any],
        fresh_broker: Broker,
        closed_port: int,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Without a name neither has presence: each new link of one makes the broker close that of the other."""
        hasten(monkeypatch)
        monkeypatch.setattr("cascade.transport.backoff.SLOW_PAUSE", AGES)
        busy = keywords.pop("busy", False)
        one = MqttConnector(
            fresh_broker.host, fresh_broker.port, client_id="twin", drain_timeout=0, **keywords
        )
        two = MqttConnector(
            fresh_broker.host, fresh_broker.port, client_id="twin", drain_timeout=0, **keywords
        )

        async def publish_on() -> None:
            while busy:
                one.publish_nowait("a", {}, 1)
                two.publish_nowait("a", {}, 1)
                await asyncio.sleep(0.001)

        publishing = asyncio.create_task(publish_on())

        def links() -> int:
            return one.statistics().connections + two.statistics().connections

        async with one, two, ChaosProxy(closed_port) as hanging_up:
            await eventually(lambda: "another process seems to use the client id twin" in caplog.text, BOUND)
            await eventually(lambda: one.statistics().linked != two.statistics().linked, BOUND)
            before = links()
            async with MqttConnector(hanging_up.host, hanging_up.port):
                await eventually(lambda: hanging_up.accepted >= 20, BOUND)
            assert links() == before <= 14
        publishing.cancel()
        (error,) = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
        assert "give every process a client_id of its own; trying again in 30 s" in error

    async def test_row_20_a_message_that_breaks_links_is_not_taken_for_a_twin(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is found among 20 in flight, although the connector has a client id of its own."""
        hasten(monkeypatch)
        require_mosquitto()
        with Mosquitto(lines=["max_packet_size 5000"]) as broker:
            async with MqttConnector(broker.host, broker.port, client_id="press") as connector:
                await numbered(connector, "a", 5)
                await connector.publish("a", {"text": "x" * 10_000}, 1)
                await numbered(connector, "a", 30)
                assert await connector.flush(AGES)
                assert connector.statistics().dropped == {"broke the link twice": 1}
                assert connector.statistics().connections > 5
        assert "another process" not in caplog.text

    async def test_row_21_an_end_before_the_broker_has_answered_says_nothing(
        self, fresh_broker: Broker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither to a watch that has just begun, nor to one that is being closed."""
        for step in range(4):
            async with MqttConnector(fresh_broker.host, fresh_broker.port) as connector:
                stream = connector.watch("a", "b/#")
                if step > 1:
                    await anext(stream)
                closing = [stream.aclose()] if step > 1 else []
                tasks = [asyncio.create_task(each) for each in closing]
                for _ in range(step % 2 + 1):
                    await asyncio.sleep(0)
            await asyncio.gather(*tasks)
        assert warnings_of(caplog) == []

    async def test_row_21_an_end_that_is_cancelled_again_and_again_leaves_nothing(
        self, proxy: ChaosProxy
    ) -> None:
        """Ctrl-C while the offline message has no answer; then the loop cancels the other tasks, as asyncio.run does."""
        async with time_limit(BOUND), no_leaks(BOUND):
            connector = MqttConnector(proxy.host, proxy.port, source_id="press")
            await connector.connect()
            proxy.stall()
            ending = asyncio.create_task(connector.disconnect())
            await eventually(lambda: "cascade-publish" in names_of_tasks(), BOUND)
            ending.cancel()
            await asyncio.wait({ending})
            (session,) = (task for task in asyncio.all_tasks() if "cascade-session" in task.get_name())
            session.cancel()
            await asyncio.wait({session})
            await proxy.cut()

    async def test_row_22_a_killed_process_is_seen(self, fresh_broker: Broker, recorder: Recorder) -> None:
        """The broker tells the will of a process that was killed."""
        body = f"""
            async with MqttConnector({fresh_broker.host!r}, {fresh_broker.port}, source_id="doomed", keepalive=120):
                await asyncio.sleep(600)
            """
        with program(body) as process:
            await eventually(lambda: statuses(recorder, "doomed"), BOUND)
            process.kill()
            await eventually(lambda: statuses(recorder, "doomed")[-1]["status"] == "offline", BOUND)
        assert len({each["session"] for each in statuses(recorder, "doomed")}) == 1

    @pytest.mark.full
    async def test_row_34_a_task_that_blocks_the_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The broker has told the will meanwhile: a birth follows as soon as the loop is free.

        Only the first link has a short keepalive time: one lost because the machine stood still counts as blocked, too.
        """
        monkeypatch.setattr(_aiomqtt_internals, "KEEPALIVE", 1)
        with (  # mosquitto takes seconds longer to miss a client
            NatsServer() as broker,
            Recorder(broker.host, broker.port, status_topic("busy")) as recorder,
        ):
            async with MqttConnector(broker.host, broker.port, source_id="busy") as busy:
                monkeypatch.setattr(_aiomqtt_internals, "KEEPALIVE", 600)
                await eventually(lambda: statuses(recorder, "busy"), BOUND)
                while "offline" not in {each["status"] for each in statuses(recorder, "busy")}:
                    time.sleep(0.01)  # noqa: ASYNC251 - that is the fault: over 1.5 keepalive times
                await eventually(lambda: busy.statistics().connections == 2, BOUND)
                await eventually(lambda: statuses(recorder, "busy")[-1]["status"] == "online", BOUND)
                assert len({each["session"] for each in statuses(recorder, "busy")}) == 2

    @pytest.mark.full
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
    async def test_row_35_a_forked_child_is_inert(self, fresh_broker: Broker, recorder: Recorder) -> None:
        """Its copy of the socket is closed, so that the death of the parent is seen at once."""
        body = f"""
            connector = MqttConnector(
                {fresh_broker.host!r}, {fresh_broker.port}, source_id="parent", keepalive=120
            )
            await connector.connect()
            if not os.fork():
                connector.publish_nowait("a", {{}})
                assert connector.statistics().dropped == {{"forked process": 1}}
                await connector.connect()
                assert not connector.connected
                print(os.getpid(), flush=True)
                time.sleep(600)  # it lives, but asyncio lets no forked child wait for anything
            await connector.publish("forked/parent", {{"n": 1}}, 1)
            await connector.flush(5)
            await asyncio.sleep(600)
            """
        with program(body) as process:
            assert process.stdout is not None
            child = int(await asyncio.to_thread(process.stdout.readline))
            try:
                await eventually(lambda: numbers(recorder, "forked/parent") == [1], BOUND)
                process.kill()
                await eventually(
                    lambda: [each["status"] for each in statuses(recorder, "parent")][-1:] == ["offline"],
                    BOUND,
                )
                said = [each["status"] for each in statuses(recorder, "parent")]
                assert said == ["online", "offline"]
            finally:
                os.kill(child, signal.SIGKILL)


async def _send_odd_topics(stream: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
    """Be a broker that accepts a client and sends it two topics that are not UTF-8, two with wildcards, then a good one."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            first, size = await stream.readexactly(2)
            body = await stream.readexactly(size)
            if first >> 4 == 1:  # CONNECT
                out.write(b"\x20\x02\x00\x00")
            elif first >> 4 == 8:  # SUBSCRIBE
                out.write(b"\x90\x03" + body[:2] + b"\x00")
                for topic in (b"\xff\xfe", b"a\xe4", b"task/a+/x", b"#", b"good"):
                    out.write(bytes([0x30, 4 + len(topic), 0, len(topic)]) + topic + b"{}")
            elif first >> 4 == 14:  # DISCONNECT
                out.close()


@contextmanager
def program(body: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the body of a coroutine; it is killed at the end, if it still runs."""
    lines = [
        "import asyncio, os, time",
        "from cascade.connectors.mqtt import MqttConnector",
        "async def main():",
        textwrap.indent(textwrap.dedent(body), "    "),
        "with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:",
        "    runner.run(main())",
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
