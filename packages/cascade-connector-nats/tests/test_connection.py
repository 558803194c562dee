"""One connection: what it uses of nats-py, what it writes, and what each line of a server does. The server is played in the test's own process."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nats.aio.client import Client

from cascade.connectors.nats._client import ApiError, NatsClient, _Connection
from cascade.testkit import eventually, time_limit
from cascade.transport.faults import LinkLost, MessageRejected

BOUND = 60.0


class Server:
    """Answers PING, and notes every other line; a test writes what the server says."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.connect: dict[str, Any] = {}
        self.info: dict[str, Any] = {"server_id": "x", "version": "2.15.1", "max_payload": 1000}
        self.pings = True
        self.open: set[asyncio.StreamWriter] = set()
        self._writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.open.add(writer)
        try:
            await self.speak(reader, writer)
        except ConnectionError:
            pass  # the client has left
        finally:
            writer.transport.abort()
            self.open.discard(writer)

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"INFO {json.dumps(self.info)}\r\n".encode())
        while line := await reader.readline():
            if line.startswith(b"CONNECT "):
                self.connect = json.loads(line[8:])
            elif line == b"PING\r\n":
                if self.pings:
                    writer.write(b"PONG\r\n")
            else:
                self.heard.append(line)

    def say(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)

    def end(self) -> None:
        assert self._writer is not None
        self._writer.close()

    def numbers(self) -> dict[str, str]:
        """Return the number of each subscription by its subject."""
        lines = (each.split() for each in self.heard if each.startswith(b"SUB "))
        return {subject.decode(): number.decode() for _, subject, number in lines}

    async def requests(self, count: int) -> list[list[str]]:
        """Wait for published messages; return the words of their first lines."""
        found: list[list[str]] = []

        def arrived() -> bool:
            found[:] = [each.decode().split() for each in self.heard if each[:4] in (b"PUB ", b"HPUB")]
            return len(found) >= count

        await eventually(arrived, BOUND)
        return found

    def message(self, number: str, subject: str, data: bytes, headers: bytes = b"", reply: str = "") -> None:
        """Send a message for a subscription."""
        if not headers:
            self.say(f"MSG {subject} {number} {len(data)}\r\n".encode() + data + b"\r\n")
            return
        sizes = f"{len(headers)} {len(headers) + len(data)}"
        self.say(f"HMSG {subject} {number} {reply} {sizes}\r\n".encode() + headers + data + b"\r\n")


@pytest.fixture
def server() -> Server:
    return Server()


@asynccontextmanager
async def connected(server: Server, **keywords: Any) -> AsyncIterator[NatsClient]:
    """A client that is connected, and that knows what an answer goes to."""
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening, time_limit(BOUND):
        port = listening.sockets[0].getsockname()[1]
        client = NatsClient(f"nats://127.0.0.1:{port}", keywords)
        try:
            await client.connect(BOUND)
            yield client
        finally:
            client.close()
            await eventually(lambda: not server.open, BOUND, what="the server has no connection")


def inbox_of(server: Server) -> tuple[str, str]:
    """Return the subject to which answers go, and the number of its subscription."""
    return next(iter(server.numbers().items()))


async def test_a_server_that_ends_instead_of_an_answer_is_an_error(server: Server) -> None:
    """nats-py alone would take that for a connection."""

    async def end_soon(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"INFO {json.dumps(server.info)}\r\n".encode())
        await reader.readline()

    server.speak = end_soon  # type: ignore[method-assign]
    with pytest.raises(ConnectionError, match="the server ended the connection"):
        async with connected(server):
            pytest.fail("nobody answered")


@pytest.mark.parametrize(
    ("keywords", "prefix"),
    [
        ({}, "_INBOX."),
        ({"user": "ann", "password": "x"}, "_INBOX.ann."),
        ({"user": "ann lee", "password": "x"}, "_INBOX.ann=20lee."),
        ({"user": "ann", "password": "x", "inbox_prefix": "mine.box"}, "mine.box."),
    ],
)
async def test_answers_go_to_a_place_of_the_users_own(
    server: Server, keywords: dict[str, str], prefix: str
) -> None:
    """Which access rules can keep from others; no two clients have one in common."""
    async with connected(server, **keywords) as client:
        await client.settle()
        first, _ = inbox_of(server)
        assert first.startswith(prefix)
        assert first.endswith(".*")
        assert client.new_inbox() != client.new_inbox()
        assert client.new_inbox().startswith(prefix)
    server.heard.clear()
    async with connected(server, **keywords) as client:
        await client.settle()
        assert inbox_of(server)[0] != first


async def test_a_sender_learns_that_too_much_waits(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the socket has taken it."""
    monkeypatch.setattr("cascade.connectors.nats._client.MAX_PENDING", 100)
    async with connected(server) as client:
        await client.settle()
        assert client.write("a", b"x" * 50)
        assert not client.write("a", b"x" * 50)
        await client.drained()
        assert client.write("a", b"x" * 50)


async def test_a_request_that_fails_says_why(server: Server) -> None:
    """JetStream's own error has a code and a text; nothing that answers is one, too."""
    async with connected(server) as client:
        refused = asyncio.create_task(client.request("$JS.API.x", b"{}"))
        alone = asyncio.create_task(client.request("$JS.API.y", b"{}"))
        first, second = await server.requests(2)
        _, number = inbox_of(server)
        error = {"code": 404, "err_code": 10059, "description": "stream not found"}
        server.message(number, first[2], json.dumps({"error": error}).encode())
        server.message(number, second[2], b"", b"NATS/1.0 503\r\n\r\n")
        with pytest.raises(ApiError, match="stream not found") as raised:
            await refused
        assert raised.value.code == 10059
        with pytest.raises(ApiError, match="nothing answers") as raised:
            await alone
        assert raised.value.code == 503


async def test_a_publication_that_is_not_allowed_ends_what_is_about_it(server: Server) -> None:
    """Also where the server writes the subject in lower case; what is about something else goes on."""
    async with connected(server) as client:
        asking = asyncio.create_task(client.request("$JS.API.Mine", b"{}"))
        other = asyncio.create_task(client.request("$JS.API.Other", b"{}"))
        server.pings = False
        settling = asyncio.create_task(client.settle("Topic.A"))
        _, second = await server.requests(2)
        server.say(b"-ERR 'Permissions Violation for Publish to \"$JS.API.Mine\"'\r\n")
        server.say(b"-ERR 'Permissions Violation for Publish to \"Topic.A\"'\r\n")
        for refused in (asking, settling):
            with pytest.raises(MessageRejected) as raised:
                await refused
            assert raised.value.code == 403
        server.message(inbox_of(server)[1], second[2], b'{"n": 1}')
        assert await other == {"n": 1}
        assert client.cause is None


async def test_a_publication_that_is_not_allowed_is_not_a_refused_subscription(server: Server) -> None:
    """A filter of the same subject stays granted."""
    denied: list[str] = []
    async with connected(server) as client:
        client.denied = denied.append
        asking = asyncio.create_task(client.request("plant", b"{}"))
        await server.requests(1)
        server.say(b"-ERR 'Permissions Violation for Publish to \"plant\"'\r\n")
        server.say(b"-ERR 'Permissions Violation for Subscription to \"line\"'\r\n")
        with pytest.raises(MessageRejected):
            await asking
        await eventually(lambda: denied == ["line"], BOUND)


async def test_who_may_not_get_answers_fails_at_once(server: Server) -> None:
    """What waits, and what asks later: nothing waits for an answer that cannot come. A later refusal is about its own subject only."""
    async with connected(server) as client:
        asking = asyncio.create_task(client.request("$JS.API.x", b"{}"))
        await server.requests(1)
        inbox, _ = inbox_of(server)
        server.say(f"-ERR 'Permissions Violation for Subscription to \"{inbox}\"'\r\n".encode())
        for request in (asking, client.request("$JS.API.y", b"{}")):
            with pytest.raises(MessageRejected) as raised:
                await request
            assert raised.value.code == 403
        server.say(b"-ERR 'Permissions Violation for Publish to \"Topic.A\"'\r\n")
        await client.settle("topic.b")
        with pytest.raises(MessageRejected):
            await client.request("$JS.API.z", b"{}")
        assert len(await server.requests(1)) == 1
        await client.settle()


@pytest.mark.parametrize("how", ["error", "end", "handler"])
async def test_an_end_of_the_connection_fails_every_call(server: Server, how: str) -> None:
    """An error of the server, its end, and an error in what takes a message: the cause is told once."""
    lost: list[BaseException | None] = []

    def fail(*_: object) -> None:
        raise RuntimeError("boom")

    async with connected(server) as client:
        client.on_lost(lost.append)
        number = client.subscribe("a", fail)
        server.pings = False
        calls = [asyncio.create_task(client.request("x", b"")), asyncio.create_task(client.settle())]
        await server.requests(1)
        if how == "error":
            server.say(b"-ERR 'Stale Connection'\r\n")
        elif how == "handler":
            server.message(str(number), "a", b"")
        else:
            server.end()
        for call in calls:
            with pytest.raises(LinkLost):
                await call
        with pytest.raises(LinkLost):
            client.write("a", b"")
        (cause,) = lost
        assert cause is client.cause
        if how == "handler":
            assert str(cause) == "boom"
        elif how == "error":
            assert isinstance(cause, ConnectionError)
            assert str(cause) == "stale connection"
        else:
            assert cause is not None


async def test_a_socket_that_was_closed_meanwhile_is_a_lost_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of asyncio counts as a lost link, so the connector keeps the message for the next connection."""

    def raises(*_: object) -> None:
        raise AttributeError("'NoneType' object has no attribute '_add_writer'")

    async with connected(server) as client:
        client.write("a", b"1")
        monkeypatch.setattr(client._nc._transport, "writelines", raises)
        with pytest.raises(LinkLost, match="_add_writer"):
            await client.settle("a")
        with pytest.raises(LinkLost):
            client.write("a", b"2")


def test_what_is_replaced_has_the_same_parameters() -> None:
    """nats-py calls these six."""
    for name in (
        "_select_next_server",
        "_process_info",
        "_process_msg",
        "_process_pong",
        "_process_op_err",
        "_process_err",
    ):
        theirs, ours = (inspect.signature(getattr(kind, name)) for kind in (Client, _Connection))
        assert list(theirs.parameters) == list(ours.parameters), name
        assert inspect.iscoroutinefunction(getattr(Client, name)), name


async def test_a_client_that_never_connected_can_be_closed() -> None:
    """Also more than once, and in a forked child."""
    client = NatsClient("nats://host", {})
    client.close()
    client.close_in_child()
    client.close()


async def test_a_clean_end_waits_until_the_server_has_everything(server: Server) -> None:
    """And raises nothing where the server has gone."""
    async with connected(server) as client:
        client.write("last", b"1")
        await client.disconnect()
        assert any(each.startswith(b"PUB last ") for each in server.heard)
        client.close()
        await client.disconnect()
        with pytest.raises(LinkLost):
            client.write("a", b"")
