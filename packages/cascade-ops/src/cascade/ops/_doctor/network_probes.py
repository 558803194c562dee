"""Attempts to reach a broker step by step: name, port, TLS, WebSocket. What they mean is decided elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from cascade.ops._doctor.facts import Certificate, Reachability, Target
from cascade.transport.credentials import end_of_validity

LOOKUP_SECONDS = 3.0
CONNECT_SECONDS = 3.0
_UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: Y2FzY2FkZS1kb2N0b3ItMQ==\r\n"
    "Sec-WebSocket-Protocol: mqtt\r\n\r\n"
)


async def try_port(target: Target) -> Reachability:
    """Return whether the host name is known and the port accepts a connection."""
    try:
        await _look_up(target)
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(target.host, target.port)
    except socket.gaierror as error:
        return Reachability("dns", error.strerror or str(error))
    except UnicodeError:
        return Reachability("dns", "it is not a host name")
    except ConnectionRefusedError:
        return Reachability("refused")
    except TimeoutError:
        return Reachability("silent")
    except OSError as error:
        return Reachability("unreachable", error.strerror or str(error))
    writer.transport.abort()
    return Reachability()


async def _look_up(target: Target) -> None:
    """Look the host name up.

    :raises socket.gaierror: if it has no address, or if that does not become known in time.
    """
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise socket.gaierror(socket.EAI_AGAIN, "the DNS does not answer") from None


async def try_tls(target: Target, context: ssl.SSLContext) -> Certificate:
    """Return what a TLS handshake shows of the broker's certificate."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            writer = await (_upgrade if target.nats else _encrypt)(target, context)
    except ssl.SSLCertVerificationError as error:
        return Certificate(error.verify_code, error.verify_message or str(error))
    except TimeoutError:
        return Certificate(detail="the handshake was not answered in time")
    except OSError as error:
        return Certificate(detail=getattr(error, "reason", None) or error.strerror or type(error).__name__)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    end = None
    with contextlib.suppress(ValueError, IndexError):
        end = end_of_validity(shown)
    return Certificate(ends=end)


async def _encrypt(target: Target, context: ssl.SSLContext) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection(target.host, target.port, ssl=context)
    return writer


async def _upgrade(target: Target, context: ssl.SSLContext) -> asyncio.StreamWriter:
    """Begin TLS behind the line with which a NATS server greets.

    :raises OSError: if the server offers no TLS, or the handshake fails.
    """
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        greeting = await reader.readline()
        if b'"tls_required":true' not in greeting and b'"tls_available":true' not in greeting:
            raise OSError(0, "the server offers none")
        await writer.start_tls(context, server_hostname=target.host)
    except BaseException:
        writer.transport.abort()
        raise
    return writer


async def find_websocket(host: str, ports: tuple[int, ...]) -> bool:
    """Return whether one of the ports accepts MQTT over WebSocket without TLS."""
    return any(await asyncio.gather(*(_upgrades(host, port) for port in ports)))


async def _upgrades(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_UPGRADE.format(path="/mqtt", host=host, port=port).encode())
                answer = await reader.readline()
            finally:
                writer.transport.abort()
    except (OSError, ValueError):
        return False
    return answer.startswith(b"HTTP/1.1 101")
