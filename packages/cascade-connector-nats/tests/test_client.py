"""What is used of nats-py beyond its public methods: these fail when nats-py changes there."""

from __future__ import annotations

import asyncio
import inspect
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from nats.aio.client import Client

from cascade.connectors.nats._client import ApiError, NatsClient, _Connection
from cascade.connectors.nats._errors import explain, explain_loss
from cascade.interfaces import Redactor
from cascade.transport.faults import Kind


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


def test_what_is_read_is_there() -> None:
    """A new client has every attribute, with the value of one that has not connected."""
    client = Client()
    assert (client._sid, client._pending, client._pending_data_size) == (0, [], 0)
    assert client._reading_task is client._ping_interval_task is client._flusher_task is None
    assert (client._transport, client._flush_queue, client._server_info) == (None, None, {})
    assert (client._status, Client.CLOSED) == (Client.DISCONNECTED, 2)


async def test_a_ping_comes_behind_what_was_written() -> None:
    """Its answer shows that the server has taken a message, so nothing may be left to be written."""
    written: list[bytes] = []
    answers: list[asyncio.Task[None]] = []

    def write(data: bytes) -> None:
        written.append(data)
        answers.append(asyncio.get_running_loop().create_task(native._process_pong(), name="pong"))

    client = NatsClient("nats://host", {})
    native: Any = _Connection(client)
    client._nc = native
    native._transport = SimpleNamespace(writelines=written.extend, write=write)
    native._pending, native._pending_data_size = [b"SUB", b"PUB"], 6
    await client.settle()
    assert written == [b"SUB", b"PUB", b"PING\r\n"]
    assert (native._pending, native._pending_data_size) == ([], 0)


async def test_an_answer_to_a_ping_that_no_call_awaits_is_passed_over() -> None:
    """nats-py would stop to read."""
    client = NatsClient("nats://host", {})
    native: Any = _Connection(client)
    loop = asyncio.get_running_loop()
    gone, awaited = loop.create_future(), loop.create_future()
    gone.cancel()
    native._pongs = [gone, awaited]
    await native._process_pong()
    assert not awaited.done()
    await native._process_pong()
    assert awaited.done()


async def test_a_client_that_never_connected_can_be_closed() -> None:
    """Also more than once, and in a forked child."""
    client = NatsClient("nats://host", {})
    client.close()
    client.close_in_child()
    client.close()


@pytest.mark.parametrize(
    ("exc", "kind", "text"),
    [
        (ConnectionRefusedError("[Errno 111] Connection refused"), Kind.UNREACHABLE, "is the broker running"),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed"),
            Kind.UNREACHABLE,
            "is the broker running",
        ),
        (socket.gaierror("Name or service not known"), Kind.UNREACHABLE, "check its spelling and the DNS"),
        (TimeoutError(), Kind.SILENT, "is this the NATS port of a server"),
        (
            Exception("nats: 'Authorization Violation'"),
            Kind.CREDENTIALS,
            "none were given; pass the keywords user and",
        ),
        (Exception("nats: 'maximum connections exceeded'"), Kind.CLOSED, "raise its max_connections"),
        (
            Exception("nats: empty response from server when expecting INFO message"),
            Kind.CLOSED,
            "no NATS server",
        ),
        (Exception("nats: 'Secure Connection - TLS Required'"), Kind.CERTIFICATE, "check tls:// in the URL"),
        (ValueError("bad seed"), Kind.SETTINGS, "check those that you pass"),
        (Exception("something else"), Kind.CLOSED, "something else"),
    ],
)
def test_why_there_is_no_link_is_one_line(exc: Exception, kind: Kind, text: str) -> None:
    """With its cause and what to do."""
    fault = explain(exc, credentials="", tls=False)
    assert fault.kind is kind
    assert text in fault.text
    assert "\n" not in fault.text
    line = f"{fault.text}; trying again"
    assert Redactor().mask(line) == line  # the log shows the remedy as it is


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("nats: 'user authentication expired'", Kind.CREDENTIALS),
        ("nats: stale connection", Kind.SILENT),
        ("slow consumer detected", Kind.CLOSED),
    ],
)
def test_why_a_link_is_lost_is_one_line(text: str, kind: Kind) -> None:
    """Only a person can renew credentials; everything else is tried again soon."""
    assert explain_loss(Exception(text)).kind is kind


def test_an_error_of_jetstream_has_its_number() -> None:
    """That of HTTP where it has none of its own."""
    error = ApiError({"code": 404, "err_code": 10059, "description": "stream not found"})
    assert (error.code, str(error)) == (10059, "stream not found")
    assert ApiError({"code": 503}).code == 503
