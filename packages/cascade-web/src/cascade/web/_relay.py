"""Carry bytes between a WebSocket and a TCP connection. What they mean is the affair of both ends."""

from __future__ import annotations

import asyncio
import contextlib

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

CLOSE_SECONDS = 2.0
"""A side that does not take the last bytes and its end in this time is cut off."""

_CHUNK = 65_536


async def relay(
    websocket: ServerConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry bytes in both directions until one side ends; then close both.

    Each direction waits until its receiver has taken what was sent, so a slow side slows the other one down and
    memory has a bound.
    """
    pumps = (
        asyncio.create_task(_to_broker(websocket, writer), name="cascade relay to the broker"),
        asyncio.create_task(_to_browser(reader, websocket), name="cascade relay to the browser"),
    )
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        await _close(writer)


async def _to_broker(websocket: ServerConnection, writer: asyncio.StreamWriter) -> None:
    try:
        async for message in websocket:
            if isinstance(message, str):
                await websocket.close(CloseCode.UNSUPPORTED_DATA, "MQTT needs binary messages")
                return
            writer.write(message)
            await writer.drain()
    except ConnectionClosed:
        return
    except OSError:
        await _say_broker_has_gone(websocket)


async def _to_browser(reader: asyncio.StreamReader, websocket: ServerConnection) -> None:
    try:
        while data := await reader.read(_CHUNK):
            await websocket.send(data)
    except ConnectionClosed:
        return
    except OSError:
        pass
    await _say_broker_has_gone(websocket)


async def _say_broker_has_gone(websocket: ServerConnection) -> None:
    await websocket.close(CloseCode.GOING_AWAY, "the broker has closed the connection")


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close a connection after its last bytes; cut it off if they are not taken."""
    writer.close()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    except OSError:
        return  # the broker has cut it off
