"""The relay carries bytes between a WebSocket and a broker's port: all of them, in order, and both ends together."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import aiomqtt
import pytest
from served_page import HOST, Upstream, browser, close_of, served
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cascade.testkit import unique_topic
from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.waiting import eventually, time_limit
from testing_tools.certificates import make_certificates

CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"
"""The first packet of a client without a name: MQTT 3.1.1, section 3.1."""


@pytest.fixture(params=[Mosquitto, NatsServer], ids=lambda kind: kind.name)
def each_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Each broker, for one test alone."""
    if request.param is Mosquitto:
        require_mosquitto()
    with request.param() as broker:
        yield broker


def client(port: int, *, token: str | None = None, **keywords: object) -> aiomqtt.Client:
    """A client of MQTT over the relay's WebSocket."""
    if token is not None:
        keywords["websocket_headers"] = {"Sec-Websocket-Protocol": f"mqtt, token.{token}"}
    return aiomqtt.Client(HOST, port, transport="websockets", websocket_path="/mqtt", timeout=60, **keywords)  # type: ignore[arg-type]


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@asynccontextmanager
async def odd_broker(handle: Handler) -> AsyncIterator[Upstream]:
    """A server of TCP that does what the test wants, instead of a broker."""
    connections = set[asyncio.Task[None]]()

    async def served_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await handle(reader, writer)  # type: ignore[misc] # a coroutine function
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(served_one, HOST, 0)
    async with server:
        yield Upstream(HOST, server.sockets[0].getsockname()[1])
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


@pytest.mark.full
@pytest.mark.broker
async def test_a_client_reaches_the_broker_through_it(each_broker: Broker, no_leaks: None) -> None:
    """Retained messages, small and large ones, in both directions, each as it was."""
    topic, large = unique_topic(), os.urandom(900_000)
    sent = [b"first", large, b"last"]
    async with served(Upstream.of(each_broker.url)) as port, time_limit(60), client(port) as one:
        await one.publish(f"{topic}/kept", b"retained", qos=1, retain=True)
        async with client(port) as other:
            await other.subscribe(f"{topic}/#", qos=1)
            for payload in sent:
                await one.publish(topic, payload, qos=1)
            got = [await anext(aiter(other.messages)) for _ in range(4)]
        await one.publish(f"{topic}/kept", b"", qos=1, retain=True)
    assert [each.payload for each in got if not each.retain] == sent
    assert [each.payload for each in got if each.retain] == [b"retained"]


@pytest.mark.broker
@pytest.mark.process
async def test_the_browser_logs_in_by_itself() -> None:
    """The relay adds nothing: the broker's own access list decides, over TLS as well."""
    require_mosquitto()
    with Mosquitto(users={"ada": "correct horse"}) as broker:
        async with served(Upstream.of(broker.url)) as port, time_limit(60):
            async with client(port, username="ada", password="correct horse") as ada:
                await ada.publish(unique_topic(), b"x", qos=1)
            with pytest.raises(aiomqtt.MqttError, match=r"(?i)not authori"):
                async with client(port, username="ada", password="wrong"):
                    pytest.fail("the broker took a wrong password")


@pytest.mark.broker
@pytest.mark.process
async def test_it_speaks_tls_to_the_broker(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And trusts the authority that it is given, no other."""
    require_mosquitto()
    certificates = make_certificates(tmp_path_factory.mktemp("certificates"))
    with Mosquitto(tls=certificates) as broker:
        async with served(Upstream.of(broker.url)) as port, browser(port) as page, time_limit(60):
            code, reason = await close_of(page)
            assert (code, (reason or "").partition(": ")[2][:30]) == (1013, "its certificate is not trusted")
        monkeypatch.setenv("CASCADE_MQTT_CA", str(certificates.ca))
        async with served(Upstream.of(broker.url)) as port, time_limit(60), client(port) as one:
            await one.publish(unique_topic(), b"x", qos=1)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", f"http://{HOST}:1"])
async def test_a_page_of_another_origin_gets_403(origin: str, no_leaks: None) -> None:
    """Before any connection to the broker."""
    async with served(Upstream(HOST, 1)) as port, time_limit():
        with pytest.raises(InvalidStatus) as error:
            async with browser(port, origin=origin):
                pytest.fail("it was opened")
    assert error.value.response.status_code == 403


async def test_a_foreign_host_name_that_leads_here_gets_403(no_leaks: None) -> None:
    """A page of that host would have the same origin as the relay."""
    async with served(Upstream(HOST, 1)) as port, time_limit():
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(
            f"GET /mqtt HTTP/1.1\r\nHost: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\n\r\n".encode()
        )
        assert await reader.readline() == b"HTTP/1.1 403 Forbidden\r\n"
        writer.close()
        await writer.wait_closed()


@pytest.mark.broker
async def test_a_token_is_needed_where_one_was_made(each_broker: Broker, no_leaks: None) -> None:
    """The reason of the close says what to do; with the token the broker answers."""
    async with served(Upstream.of(each_broker.url), token="s3cret") as port, time_limit(60):
        for wrong in ("", "other"):
            async with browser(port, token=wrong) as page:
                code, reason = await close_of(page)
            assert code == 1008
            assert reason == "the link has no valid token; open the link that cascade web has printed"
        async with client(port, token="s3cret") as one:
            await one.publish(unique_topic(), b"x", qos=1)


async def test_without_a_broker_the_reason_says_so(closed_port: int, no_leaks: None) -> None:
    """In words, with host and port; a long host name is cut."""
    async with served(Upstream(HOST, closed_port)) as port, browser(port) as page, time_limit():
        assert await close_of(page) == (1013, f"no broker at {HOST}:{closed_port}: the connection is refused")
    async with served(Upstream("ü" * 80, closed_port)) as port, browser(port) as page, time_limit():
        code, reason = await close_of(page)
    assert (code, (reason or "")[:14]) == (1013, "no broker at ü")


@pytest.mark.broker
@pytest.mark.process
async def test_a_broker_that_ends_closes_the_browsers_side(each_broker: Broker, no_leaks: None) -> None:
    """And the next connection finds it again once it runs."""
    async with served(Upstream.of(each_broker.url)) as port, time_limit(120):
        async with browser(port) as page:
            await page.send(CONNECT)
            await page.recv()  # the answer: now the relay has its connection to the broker
            each_broker.kill()
            assert await close_of(page) == (1001, "the broker has closed the connection")
        each_broker.start()
        async with client(port) as one:
            await one.publish(unique_topic(), b"x", qos=1)


async def test_both_sides_close_together(no_leaks: None) -> None:
    """What either side has sent before its end still arrives at the other one."""
    got, ended = bytearray(), asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.read(-1))
        ended.set()

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 300_000)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with odd_broker(take) as upstream, served(upstream) as port, time_limit():
        async with browser(port) as page:
            for _ in range(10):
                await page.send(b"y" * 30_000)
        await ended.wait()
        assert len(got) == 300_000
    async with odd_broker(give) as upstream, served(upstream) as port, browser(port) as page, time_limit():
        sizes = [len(data) async for data in page]
    assert sum(sizes) == 300_000
    assert (page.close_code, page.close_reason) == (1001, "the broker has closed the connection")


@pytest.mark.full
async def test_a_slow_side_slows_the_other_one_down(no_leaks: None) -> None:
    """The relay keeps no more than a few buffers, and loses nothing once the slow side reads."""
    total, read, may_read = 64 << 20, asyncio.Event(), asyncio.Event()
    sent = {"broker": 0, "browser": 0}

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write() -> None:
            while sent["broker"] < total:
                writer.write(bytes(65_536))
                await writer.drain()
                sent["broker"] += 65_536

        writing = asyncio.create_task(write())
        await may_read.wait()
        size = 0
        while size < total:
            size += len(await reader.read(1 << 20))
        await writing
        read.set()
        await reader.read()

    def stopped() -> Callable[[], bool]:
        seen: list[dict[str, int]] = []

        def same() -> bool:
            seen.append(dict(sent))
            return all(sent.values()) and len(seen) > 50 and seen[-50] == seen[-1]

        return same

    async with (
        odd_broker(broker) as upstream,
        served(upstream) as port,
        browser(port) as page,
        time_limit(120),
    ):

        async def write() -> None:
            while sent["browser"] < total:
                await page.send(bytes(65_536))
                sent["browser"] += 65_536

        writing = asyncio.create_task(write())
        await eventually(stopped(), 60, what="both senders wait")
        assert max(sent.values()) < total / 2
        may_read.set()
        size = 0
        while size < total:
            size += len(await page.recv())
        await writing
        await read.wait()
    assert size == total


async def test_text_is_refused(no_leaks: None) -> None:
    """MQTT over WebSocket is binary."""

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with odd_broker(wait) as upstream, served(upstream) as port, browser(port) as page, time_limit():
        await page.send("text")
        assert await close_of(page) == (1003, "MQTT needs binary messages")


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
async def test_many_connections_leave_nothing_behind(each_broker: Broker, no_leaks: None) -> None:
    """However they end: in order, cut off, refused, or by the end of the server."""
    topic = unique_topic()
    async with served(Upstream.of(each_broker.url)) as port, time_limit(120):
        for _ in range(3):
            pages = [await browser(port) for _ in range(20)]
            for page in pages[:10]:
                page.transport.abort()
            for page in pages[10:]:
                await page.close()
            for page in pages:
                with pytest.raises(ConnectionClosed):
                    await page.recv()
            with pytest.raises(InvalidStatus):
                await browser(port, origin="http://evil.example")
            async with client(port) as one:
                await one.publish(topic, b"x", qos=1)
        left = [await browser(port) for _ in range(5)]
    for page in left:
        assert (await close_of(page))[0] in (1001, 1006)
