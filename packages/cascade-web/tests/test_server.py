"""What the server answers to each request, and what a browser reads when the broker cannot be reached or breaks off."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from served_page import (
    HOST,
    NoBroker,
    RelayAccess,
    Upstream,
    WebServer,
    assemble,
    browser,
    close_of,
    relay,
    served,
)

from cascade.cli import CommandError
from cascade.interfaces import ConfigurationError
from cascade.testkit.ports import free_port
from cascade.testkit.waiting import time_limit

UPSTREAM = Upstream(HOST, 1)


async def answer(port: int, target: str, *more: str, method: str = "GET") -> tuple[str, dict[str, str], str]:
    """Return the status line, the headers and the text of an answer; ``more`` are further header lines."""
    reader, writer = await asyncio.open_connection(HOST, port)
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}:{port}", "Connection: close", *more, "", ""]
    writer.write("\r\n".join(lines).encode())
    async with time_limit():
        head, _, text = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    status, *lines = head.split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), text


@pytest.mark.parametrize("target", ["/", "/?broker=ws%3A%2F%2Fhost%3A9001", "/?"])
async def test_the_page_is_at_the_root_whatever_its_query(target: str, no_leaks: None) -> None:
    """With headers that keep it to itself; none says which program serves it."""
    async with served(None) as port:
        status, headers, text = await answer(port, target)
    assert status == "HTTP/1.1 200 OK"
    assert text == assemble("/mqtt").html
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"] == f"{assemble('/mqtt').policy}; frame-ancestors 'none'"
    assert "connect-src 'self';" in headers["Content-Security-Policy"]
    assert "Server" not in headers


@pytest.mark.parametrize("target", ["/", "/mqtt"])
async def test_odd_requests_are_answered(target: str, no_leaks: None) -> None:
    """Another method is not allowed; of two hosts or origins none counts."""
    async with served(UPSTREAM) as port:
        for method in ("POST", "PUT", "DELETE"):
            status, headers, _ = await answer(port, target, "Content-Length: 0", method=method)
            assert (status, headers["Allow"]) == ("HTTP/1.1 405 Method Not Allowed", "GET")
        for more in (["Host: evil.example"], ["Origin: http://a", "Origin: http://b"]):
            status, _, text = await answer(port, target, *more)
            assert status == "HTTP/1.1 400 Bad Request"
            assert text == "A request has one header Host, and at most one Origin.\n"


@pytest.mark.parametrize(
    ("broker", "sources"),
    [
        ("/mqtt", "'self'"),
        ("ws://plant:9001/a", "ws://plant:9001"),
        ("wss://plant", "wss://plant"),
        ("ws://[::1]:9001/", "ws:"),
        ("ws://a b;x", "ws:"),
        ("", "ws: wss:"),
    ],
)
def test_the_page_may_connect_to_its_broker_only(broker: str, sources: str) -> None:
    """A link cannot make the page of ``cascade web`` send a password elsewhere; a saved one has no broker yet."""
    assert f"; connect-src {sources}; " in assemble(broker).policy


@pytest.mark.parametrize(
    ("upstream", "target"),
    [(UPSTREAM, "/index.html"), (UPSTREAM, "/mqtt/"), (UPSTREAM, "/mqtts"), (None, "/mqtt"), (None, "/x?/")],
)
async def test_every_other_path_says_where_the_page_is(
    upstream: Upstream | None, target: str, no_leaks: None
) -> None:
    """So does the relay's where the page reaches the broker directly."""
    async with served(upstream) as port:
        status, _, text = await answer(port, target)
    assert (status, text) == ("HTTP/1.1 404 Not Found", "The page is at /.\n")


async def test_a_browser_of_mqtt_is_answered_with_its_protocol(closed_port: int, no_leaks: None) -> None:
    """A browser that offers one refuses an answer without it; nothing is compressed on the way."""
    async with served(Upstream(HOST, closed_port)) as port, time_limit(), browser(port) as websocket:
        assert websocket.subprotocol == "mqtt"
        assert websocket.response is not None
        assert "Sec-WebSocket-Extensions" not in websocket.response.headers


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), "the connection is refused"),
        (TimeoutError(), "no answer"),
        (TimeoutError(110, "Connection timed out"), "no answer"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "TLS fails: WRONG_VERSION_NUMBER"),
        (OSError(113, "No route to host"), "No route to host"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("multiple exceptions"), "the host name cannot be used"),
        (UnicodeError("label too long"), "the host name cannot be used"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_why_a_broker_is_not_reached_is_said_in_a_few_words(
    monkeypatch: pytest.MonkeyPatch, error: Exception, cause: str
) -> None:
    """With host and port; the error itself is kept for a log."""
    if isinstance(error, ssl.SSLError):
        error.reason = "WRONG_VERSION_NUMBER"

    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncio, "open_connection", fail)
    with pytest.raises(NoBroker) as raised:
        await Upstream("plant", 1883).connect()
    assert str(raised.value) == f"no broker at plant:1883: {cause}"
    assert raised.value.__cause__ is error


async def test_a_broker_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page then says so, and tries again."""
    monkeypatch.setattr("cascade.web._upstream.CONNECT_SECONDS", 0.01)

    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "open_connection", hang)
    async with time_limit():
        with pytest.raises(NoBroker, match="no broker at plant:1883: no answer"):
            await Upstream("plant", 1883).connect()


def test_the_broker_of_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its usual port by its scheme; what it says about a user is the browser's affair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr("cascade.web._upstream.urls.tls_context_of", lambda *names, **_: (context, names)[0])
    assert Upstream.of("mqtt://plant") == Upstream("plant", 1883, None)
    assert Upstream.of("mqtt://ada:x@plant:1884") == Upstream("plant", 1884, None)
    assert Upstream.of("mqtts://plant") == Upstream("plant", 8883, context)
    assert Upstream.of("mqtts://[::1]:99") == Upstream("::1", 99, context)
    for url in ("ws://plant", "mqtt://plant/x", "mqtt://", "mqtt://plant:x"):
        with pytest.raises(ConfigurationError):
            Upstream.of(url)


@asynccontextmanager
async def breaking(error: OSError, *, where: str) -> AsyncIterator[int]:
    """A relay whose connection to the broker breaks when it is read or written."""
    waiting = asyncio.Event()

    async def read(_size: int) -> bytes:
        if where == "read":
            raise error
        await waiting.wait()
        return b""

    async def drain() -> None:
        if where == "write":
            raise error

    async def wait_closed() -> None:
        raise error

    writer: Any = SimpleNamespace(write=len, drain=drain, close=lambda: None, wait_closed=wait_closed)
    reader: Any = SimpleNamespace(read=read)

    class Broken(WebServer):
        async def _carry(self, websocket: Any) -> None:
            await relay(websocket, reader, writer)

    port = free_port()
    async with Broken(assemble(), UPSTREAM, RelayAccess()).listening(HOST, port):
        yield port


@pytest.mark.parametrize("where", ["read", "write"])
async def test_a_broker_that_breaks_off_closes_the_browser_in_words(
    where: str, no_leaks: None, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that ends in order; the page connects again, and the terminal shows no traceback."""
    error = ConnectionResetError(104, "reset")
    async with breaking(error, where=where) as port, time_limit(), browser(port) as websocket:
        if where == "write":
            await websocket.send(b"x")
        assert await close_of(websocket) == (1001, "the broker has closed the connection")
    assert not [each for each in caplog.records if each.levelno > logging.INFO]


async def test_a_port_that_is_taken_is_named() -> None:
    """With another one to choose."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"the port {port} of 127.0.0.1 is in use"):
            async with WebServer(assemble(), None, RelayAccess()).listening(HOST, port):
                pytest.fail("two servers on one port")
