"""What goes wrong on a real nats-server: one line with cause and remedy, and telemetry goes on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from cascade.connectors.nats import NatsConnector
from cascade.connectors.nats._client import ApiError, NatsClient
from cascade.connectors.nats._link import NatsLink
from cascade.interfaces import (
    Complete,
    ConnectorUnavailable,
    Delivery,
    Lacking,
    Linked,
    Lost,
    Message,
    WatchItem,
    WatchStream,
)
from cascade.interfaces.topics import constraint_topic, status_topic, telemetry_topic
from cascade.testkit import Broker, eventually, time_limit, unique_topic
from cascade.testkit.brokers import NatsServer
from cascade.testkit.chaos import ChaosProxy, Direction
from testing_tools.certificates import make_certificates

pytestmark = [
    pytest.mark.broker,
    pytest.mark.wrong_messages("their telemetry is a number only", "cascade/telemetry/#"),
]
BOUND = 60.0


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as own:
        yield own


@pytest.fixture(autouse=True)
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("backoff.SHORTEST_PAUSE", "backoff.LONGEST_PAUSE", "waiting.RECENT", "waiting.NO_LINK"):
        monkeypatch.setattr(f"cascade.transport.{name}", 0.02)
    monkeypatch.setattr("cascade.connectors.nats._link.OPEN_TIMEOUT", BOUND)  # a slow machine is not a fault
    monkeypatch.setattr("cascade.connectors.nats._retained.PAUSE", 0.02)
    monkeypatch.setattr("cascade.connectors.nats._link.RETRY", 0.05)


def connector_to(server: NatsServer, **keywords: Any) -> NatsConnector:
    return NatsConnector(server.host, server.nats_port, **keywords)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


async def next_of(stream: WatchStream, kind: type[WatchItem]) -> Any:
    async with time_limit(BOUND):
        while not isinstance(item := await anext(stream), kind):
            pass
    return item


async def arrives(server: NatsServer, connector: NatsConnector, topic: str) -> None:
    """Publish telemetry until it comes to a client of nats-py."""
    client = await nats.connect(server.nats_url)
    try:
        inbox = await client.subscribe(topic.replace("/", "."))
        for _ in range(2):  # nats-py lets its first PING overtake the subscription
            await client.flush()
        await connector.publish(topic, {"n": 1}, 1)
        async with time_limit(BOUND):
            assert json.loads((await inbox.next_msg(BOUND)).data) == {"n": 1}
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def watching(connector: NatsConnector, *filters: str) -> AsyncIterator[WatchStream]:
    async with contextlib.aclosing(connector.watch(*filters)) as stream:
        yield stream


async def test_without_jetstream_telemetry_goes_on(caplog: pytest.LogCaptureFixture, no_leaks: None) -> None:
    """One line says what is missing; a watch has its link and no proof; a constraint is rejected, not half kept."""
    with NatsServer(jetstream=False) as server:
        async with connector_to(server, source_id="press-3") as connector:
            async with watching(connector, "cascade/constraints/#") as stream:
                assert await next_of(stream, Linked) == Linked()
            await arrives(server, connector, telemetry_topic("o", "p", "r"))
            assert {each.lacking for each in await connector.limitations()} == {
                Lacking.STORE,
                Lacking.TELEMETRY,
            }
            (warning,) = warnings(caplog)
            assert warning == (
                f"127.0.0.1:{server.nats_port}: no constraints, presence and retained messages: it has no JetStream; "
                "start it with -js, or allow it for this account; telemetry is sent"
            )
            await connector.publish(constraint_topic("global", "pause"), {"type": "pause"}, 1, retain=True)
            assert await connector.flush(BOUND)
            assert connector.statistics().dropped == {"refused by the broker": 1}


async def test_a_user_without_rights_for_jetstream_sends_telemetry(caplog: pytest.LogCaptureFixture) -> None:
    """The one line says what to allow."""
    rights = (
        'permissions { publish: ["cascade.telemetry.>"], subscribe: ["_INBOX.>", "cascade.telemetry.>"] }'
    )
    users = f'authorization {{ users: [ {{ user: "a", password: "b", {rights} }}, {{ user: "all", password: "b" }} ] }}'
    with NatsServer(lines=[users]) as server:
        async with connector_to(server, user="a", password="b") as connector:
            async with watching(connector, "cascade/constraints/#", "cascade/telemetry/#") as stream:
                await next_of(stream, Lost)
                await connector.publish(telemetry_topic("o", "p", "r"), {"n": 1}, 1)
                assert (await next_of(stream, Message)).payload == b'{"n": 1}'
            refused, control = sorted(warnings(caplog), key=len)
            assert "refuses the subscription to cascade/constraints/# (code 403)" in refused
            assert "allow it to publish to $JS.API.> and $KV.cascade.>" in control
            assert "cascade/constraints/#" not in connector.statistics().refused  # it was closed


async def test_a_topic_that_a_subject_cannot_hold_is_dropped(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for all of them, and what follows is sent."""
    async with connector_to(server) as connector:
        for _ in range(3):
            await connector.publish("x" * 5_000, {"n": 0})
        await arrives(server, connector, "a/b")
        assert connector.statistics().dropped == {"too large": 3}
        (warning,) = warnings(caplog)
        assert "its topic as a subject has 5,000 bytes, and the broker accepts at most 2,048" in warning


async def test_a_message_over_the_limit_of_the_server_is_dropped(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The link stays up."""
    async with connector_to(server) as connector:
        await connector.publish("a/b", {"text": "x" * 2_000_000}, 1)
        await arrives(server, connector, "a/b")
        assert connector.statistics().connections == 1
        assert "accepts at most 1,048,576" in warnings(caplog)[0]


@pytest.mark.full
async def test_a_bucket_that_is_deleted_comes_back_in_sync(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer is silent then; the next one follows a new bucket, and nothing that was known is taken as cleared."""
    monkeypatch.setattr("cascade.connectors.nats._retained.SILENCE", 0.3)
    topic = constraint_topic("global", "pause")
    async with connector_to(server) as connector, watching(connector, "cascade/constraints/#") as stream:
        await connector.publish(topic, {"type": "pause"}, 1, retain=True)
        await next_of(stream, Message)
        await api(server, "STREAM.DELETE.KV_cascade", {})
        while not (complete := await next_of(stream, Complete)).forgotten:
            pass
        assert (complete.topics, complete.forgotten) == (frozenset({topic}), frozenset({topic}))
        await connector.publish(topic, None, 1, retain=True)
        assert (await next_of(stream, Message)).payload == b""


@pytest.mark.parametrize("keep_store", [True, False], ids=["with its store", "without its store"])
async def test_a_server_that_is_killed_comes_back_in_sync(
    server: NatsServer, keep_store: bool, no_leaks: None
) -> None:
    """Rows 5 and 19: what it has lost is reported as forgotten, never as cleared."""
    topic, live = constraint_topic("global", "pause"), unique_topic()
    async with (
        connector_to(server, source_id="press-3") as connector,
        watching(connector, "cascade/constraints/#", live) as stream,
    ):
        await connector.publish(topic, {"type": "pause"}, 1, retain=True)
        await next_of(stream, Message)
        server.kill()
        await next_of(stream, Lost)
        await connector.publish(live, {"n": 1}, 1)
        server.restart(keep_store=keep_store)
        complete = await next_of(stream, Complete)
        assert complete.topics == {topic}
        assert complete.forgotten == (frozenset() if keep_store else {topic})
        assert (await next_of(stream, Message)).topic == live
        assert connector.statistics().connections == 2


async def test_a_frozen_server_is_noticed_and_found_again(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 6: no answer to PING ends the link; the next one is in sync."""
    monkeypatch.setattr("cascade.connectors.nats._client.PING_INTERVAL", 0.1)
    async with connector_to(server) as connector, watching(connector, unique_topic()) as stream:
        await next_of(stream, Complete)
        server.freeze()
        await next_of(stream, Lost)
        server.thaw()
        await next_of(stream, Complete)


async def test_a_constraint_waits_for_jetstream_only_so_long(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is rejected: the one who steers must learn of it."""
    monkeypatch.setattr("cascade.connectors.nats._link.OPEN_TIMEOUT", 0.05)
    monkeypatch.setattr("cascade.connectors.nats._store.STORE_TIMEOUT", 0.05)

    async def never(self: NatsClient, subject: str, *rest: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(NatsClient, "request", never)
    async with connector_to(server, presence=False) as connector:
        await connector.publish(constraint_topic("global", "pause"), {"type": "pause"}, 1, retain=True)
        assert await connector.flush(BOUND)
        assert connector.statistics().dropped == {"refused by the broker": 1}


@pytest.mark.full
async def test_a_slow_link_loses_nothing(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    """Each way takes longer than a link waits for JetStream, and carries little."""
    monkeypatch.setattr("cascade.connectors.nats._link.OPEN_TIMEOUT", 0.1)
    topic, pause = telemetry_topic("o", "p", "r"), constraint_topic("global", "pause")
    numbers = list[int]()

    async def receive(_topic: str, data: dict[str, Any]) -> None:
        numbers.append(data["n"])

    async with connector_to(server) as witness, ChaosProxy(server.nats_port) as proxy:
        await witness.subscribe(topic, receive)
        proxy.delay(0.15)
        proxy.slow(100_000)
        async with (
            NatsConnector(proxy.host, proxy.port, source_id="press-3", connect_timeout=BOUND, drain_timeout=BOUND)
            as connector,
            watching(connector, "cascade/constraints/#") as stream,
        ):  # fmt: skip
            assert (await next_of(stream, Complete)).proved
            for n in range(200):
                await connector.publish(topic, {"n": n, "text": "x" * 300}, n % 2)
            await witness.publish(pause, {"type": "pause"}, 1, retain=True)
            assert (await next_of(stream, Message)).topic == pause
            assert await connector.flush(BOUND)
            await eventually(lambda: len(numbers) == 200, BOUND)
            assert connector.statistics().connections == 1
    assert sorted(numbers) == [*range(200)]


async def test_a_slow_consumer_that_the_server_cuts_off_comes_back_in_sync() -> None:
    """What it has missed meanwhile is in the next set."""
    base = unique_topic()
    with NatsServer(lines=["max_pending: 2MB", 'write_deadline: "300ms"']) as server:
        async with (
            ChaosProxy(server.nats_port) as proxy,
            connector_to(server) as witness,
            NatsConnector(proxy.host, proxy.port) as connector,
            watching(connector, f"{base}/#") as stream,
        ):
            await next_of(stream, Complete)
            proxy.stall(Direction.DOWN)
            await witness.publish(f"{base}/kept", {"n": 1}, 1, retain=True)

            async def is_cut() -> bool:
                for _ in range(20):
                    await witness.publish(f"{base}/flood", {"text": "x" * 60_000})
                await witness.flush(BOUND)
                return "Slow Consumer" in server.log

            await eventually(is_cut, BOUND)
            proxy.resume()
            await next_of(stream, Lost)
            assert (await next_of(stream, Complete)).topics == {f"{base}/kept"}


async def test_an_event_is_kept_once_by_the_stream(server: NatsServer) -> None:
    """``Nats-Msg-Id`` is the event's id: a message that is sent again after a cut is kept once."""
    topic = telemetry_topic("o", "p", "r")
    async with connector_to(server) as connector:
        for _ in range(2):
            await connector.publish(topic, {"event_id": "r-1-0", "seq": 0}, 1)
        await connector.publish(topic, {"event_id": "r-1-1", "seq": 1}, 1)
        assert await connector.flush(BOUND)
        assert (await api(server, "STREAM.INFO.cascade", {}))["state"]["messages"] == 2


@pytest.mark.full
async def test_kept_telemetry_that_a_reader_had_not_stored_comes_again(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    """Also behind later messages that the next reader has stored and acknowledged at once."""
    monkeypatch.setattr("cascade.connectors.nats._store.ACK_WAIT", 2)
    topic, first, second = telemetry_topic("o", "p", "r"), list[int](), list[int]()

    async def read(numbers: list[int], stored: Callable[[], Awaitable[None]]) -> NatsConnector:
        async def receive(_topic: str, data: dict[str, Any]) -> None:
            numbers.append(data["n"])

        reader = connector_to(server)
        reader.keep("box", stored)
        await reader.subscribe(topic, receive, 1)
        await reader.connect()
        return reader

    async def never() -> None:
        await asyncio.Event().wait()

    async def at_once() -> None:
        pass

    async with connector_to(server) as sender:
        await sender.publish(topic, {"n": 0}, 1)
        assert await sender.flush(BOUND)
        reader = await read(first, never)
        await eventually(lambda: first == [0])
        await reader.disconnect()
        await sender.publish(topic, {"n": 1}, 1)
        assert await sender.flush(BOUND)
        reader = await read(second, at_once)
        await eventually(lambda: {*second} == {0, 1})
        await reader.disconnect()


@pytest.mark.full
async def test_a_process_that_is_killed_is_seen_as_offline(server: NatsServer) -> None:
    """The key lives as long as it is renewed; a late reader sees the same, and an unnamed process leaves nothing."""
    status = status_topic("press-3")
    async with ChaosProxy(server.nats_port) as proxy, connector_to(server) as reader:
        named = NatsConnector(proxy.host, proxy.port, source_id="press-3", presence_ttl=1)
        await named.connect()
        async with watching(reader, status) as stream:
            assert json.loads((await next_of(stream, Message)).payload)["status"] == "online"
            await asyncio.sleep(0)
            await proxy.down()
            assert json.loads((await next_of(stream, Message)).payload) == {"status": "offline"}
        async with watching(reader, status) as late:
            message = await next_of(late, Message)
            assert (json.loads(message.payload), message.retain) == ({"status": "offline"}, True)
        await named.disconnect()


async def api(server: NatsServer, what: str, request: dict[str, Any]) -> dict[str, Any]:
    """Call JetStream's API as another program."""
    client = await nats.connect(server.nats_url)
    try:
        answer = await client.request(f"$JS.API.{what}", json.dumps(request).encode(), timeout=BOUND)
    finally:
        await client.close()
    found: dict[str, Any] = json.loads(answer.data)
    assert "error" not in found, found
    return found


async def test_tls_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_leaks: None) -> None:
    """With the authority that the environment names; without it the link is refused, in one line."""
    made = make_certificates(tmp_path)
    with NatsServer(tls=made) as server:
        with pytest.raises(
            ConnectorUnavailable, match=r"TLS failed: .*check tls:// in the URL, CASCADE_NATS_CA"
        ):
            await NatsConnector.from_url(server.nats_url, required=True, connect_timeout=60.0).connect()
        monkeypatch.setenv("CASCADE_NATS_CA", str(made.ca))
        async with NatsConnector.from_url(server.nats_url, required=True, connect_timeout=60.0) as connector:
            await arrives_at(connector)


async def test_nothing_is_said_without_the_tls_that_the_url_wants(
    monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    """nats-py would send the password in the clear to a server, or to a machine on the way, that offers no TLS."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id": "x", "version": "2.15.1", "max_payload": 1048576}\r\n')
        heard.append(await reader.read())
        writer.close()

    monkeypatch.setenv("CASCADE_NATS_PASSWORD", "s3cret")
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connector = NatsConnector.from_url(f"tls://ann@127.0.0.1:{port}", required=True, connect_timeout=60.0)
        with pytest.raises(ConnectorUnavailable, match="TLS failed: the server offers no TLS; check tls://"):
            await connector.connect()
        await connector.disconnect()
        await eventually(lambda: len(heard) == 1, what="the client has left")
    assert heard == [b""]


async def test_tls_is_used_where_the_server_leaves_the_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-py would use it only where it is required."""
    made = make_certificates(tmp_path)
    monkeypatch.setenv("CASCADE_NATS_CA", str(made.ca))
    with NatsServer(tls=made, lines=["allow_non_tls: true"]) as server:
        async with NatsConnector.from_url(server.nats_url, required=True, connect_timeout=60.0) as connector:
            session = connector._lifecycle.session
            assert session is not None
            assert isinstance(session.link, NatsLink)
            writer = session.link.client._nc._transport._io_writer
            assert writer.get_extra_info("ssl_object") is not None
            await arrives_at(connector)


async def arrives_at(connector: NatsConnector) -> None:
    """Publish a message until it comes back."""
    topic, arrived = unique_topic(), asyncio.Event()

    async def arrive(_topic: str, _data: dict[str, Any]) -> None:
        arrived.set()

    await connector.subscribe(topic, arrive)
    await connector.publish(topic, {"n": 1}, 1)
    async with time_limit(BOUND):
        await arrived.wait()


async def test_a_server_that_is_ended_while_events_come_refuses_none(
    monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    """By SIGTERM: all are in its stream after the next start."""
    monkeypatch.setattr(Broker, "observer", None)  # what is heard is not refused
    found, numbers = list[Delivery](), itertools.count()
    with NatsServer() as server:
        async with connector_to(server, presence=False) as connector:
            for _ in range(3):
                stopped = asyncio.create_task(asyncio.to_thread(server.terminate))
                while not stopped.done():
                    if connector.statistics().pending < 400:
                        event = json.dumps({"event_id": f"r-{next(numbers)}"})
                        topic = telemetry_topic("o", "p", "r")
                        connector.deliver_nowait(topic, event, 1, settled=found.append)
                    await asyncio.sleep(0)
                await asyncio.to_thread(server.start)
            assert await connector.flush(BOUND)
            assert connector.statistics().dropped == {}
        count = next(numbers)
        assert found == [Delivery.TAKEN] * count
        assert {*await kept_by(server)} == {f"r-{number}" for number in range(count)}


async def test_a_stream_that_never_answers_refuses_telemetry_in_the_end(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    """Such as one of another account whose subjects were not imported: the link stays, and nothing waits for ever."""
    monkeypatch.setattr("cascade.connectors.nats._store.STORE_TIMEOUT", 0.2)
    request, gone = NatsClient.request, asyncio.Event()

    async def answer(client: NatsClient, subject: str, *rest: Any) -> dict[str, Any]:
        if gone.is_set() and not subject.startswith("$JS.API."):
            raise ApiError({"code": 503, "description": "nothing answers"})
        return await request(client, subject, *rest)

    monkeypatch.setattr(NatsClient, "request", answer)
    found = list[Delivery]()
    async with connector_to(server, presence=False) as connector:
        gone.set()
        for _ in range(50):
            connector.deliver_nowait(telemetry_topic("o", "p", "r"), "{}", 1, settled=found.append)
        assert await connector.flush(BOUND)
        assert found == [Delivery.REFUSED] * 50
        assert connector.statistics().connections == 1


async def kept_by(server: NatsServer) -> list[str]:
    """Return the ids of the events in the server's stream."""
    client = await nats.connect(server.nats_url)
    try:
        stream = client.jetstream()
        last = (await stream.stream_info("cascade")).state.last_seq
        kept = [await stream.get_msg("cascade", number) for number in range(1, last + 1)]
        return [json.loads(each.data or b"{}")["event_id"] for each in kept]
    finally:
        await client.close()
