"""A server of the page on a free port, in the loop of the test, and the inner parts of it that tests use."""

# mypy: implicit-reexport
# ruff: noqa: F401 - imported from here by the tests

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError
from websockets.typing import Origin, Subprotocol

from cascade.testkit.ports import free_port
from cascade.web._assembly import assemble, script_names
from cascade.web._history import History
from cascade.web._relay import relay
from cascade.web._relay_access import RelayAccess
from cascade.web._server import WebServer
from cascade.web._upstream import NoBroker, Upstream

HOST = "127.0.0.1"


@asynccontextmanager
async def served(
    upstream: Upstream | None, *, token: str | None = None, broker: str = "/mqtt"
) -> AsyncIterator[int]:
    """Serve for as long as the context lasts; the value is the port.

    :param broker: what the page may connect to; empty for a page as ``--save`` writes it.
    """
    port = free_port()
    async with WebServer(assemble(broker), upstream, RelayAccess(token)).listening(HOST, port):
        yield port


def browser(port: int, *, origin: str | None = None, token: str = "") -> connect:
    """Open a WebSocket as a page does that was served there, or as one of another origin."""
    asked = Origin(origin or f"http://{HOST}:{port}")
    return connect(
        f"ws://{HOST}:{port}/mqtt",
        origin=asked,
        subprotocols=[Subprotocol("mqtt"), *([Subprotocol(f"token.{token}")] if token else [])],
        compression=None,
        proxy=None,
        open_timeout=None,
        max_size=None,
    )


async def close_of(websocket: ClientConnection) -> tuple[int | None, str | None]:
    """Return the code and the reason with which the other side closes, after everything that it sends before."""
    with suppress(ConnectionClosedError):
        async for _ in websocket:
            pass
    return websocket.close_code, websocket.close_reason
