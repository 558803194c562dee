"""Serve the page, and the relay beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from cascade.cli.listening import refused
from cascade.web._assembly import Page
from cascade.web._history import History
from cascade.web._relay import CLOSE_SECONDS, relay
from cascade.web._relay_access import RelayAccess
from cascade.web._upstream import NoBroker, Upstream, log

USUAL_PORT: Final = 8765
RELAY: Final = "/mqtt"
HISTORY: Final = "/history"
MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of one WebSocket message from a browser."""

_WRONG_ORIGIN = "The relay serves only pages that come from the same address. Open the page from here.\n"
_ONE_HOST = "A request has one header Host, and at most one Origin.\n"
_NO_TOKEN = "the link has no valid token; open the link that cascade web has printed"
_MAX_REASON = 123  # RFC 6455, 5.5: 125 bytes, of which two are the code
_WAITING = 4  # messages from a browser that wait while the broker takes no more


class WebServer:
    """Answers requests: the page at ``/``, at ``/mqtt`` a WebSocket to the broker, at ``/history`` one to the past.

    :param upstream: the broker of the relay; None: without a relay.
    :param history: the runs of a collector's file; None: without.
    """

    def __init__(
        self, page: Page, upstream: Upstream | None, access: RelayAccess, history: History | None = None
    ) -> None:
        self._page = page
        self._upstream = upstream
        self._access = access
        self._history = history

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[None]:
        """Serve for as long as the context lasts.

        :raises CommandError: if the address and port cannot be used.
        """
        try:
            server = await serve(
                self._carry,
                host,
                port,
                process_request=self._answer,
                subprotocols=[Subprotocol("mqtt"), Subprotocol("cascade.history")],
                # the broker's messages are small, and on a local network time counts
                compression=None,
                close_timeout=CLOSE_SECONDS,
                # The broker's keepalive ends the link of a dead browser; a ping would end that of a slow one.
                ping_interval=None,
                max_size=MAX_MESSAGE,
                max_queue=_WAITING,
                server_header=None,
                logger=log,
            )
        except OSError as error:
            raise refused(error, host, port, usual=USUAL_PORT) from error
        try:
            async with server:
                yield
        finally:
            if self._history is not None:
                self._history.close()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return the answer to a request, or None to open a WebSocket."""
        path = request.path.partition("?")[0]
        hosts = request.headers.get_all("Host")
        if len(hosts) != 1 or len(request.headers.get_all("Origin")) > 1:
            return connection.respond(HTTPStatus.BAD_REQUEST, _ONE_HOST)
        if request.method != "GET":
            response = connection.respond(HTTPStatus.METHOD_NOT_ALLOWED, "The page is read with GET.\n")
            response.headers["Allow"] = "GET"
            return response
        if path == "/":
            return _document(connection, self._page)
        offered = {RELAY: self._upstream, HISTORY: self._history}
        if offered.get(path) is None:
            return connection.respond(HTTPStatus.NOT_FOUND, "The page is at /.\n")
        if not self._access.admits_origin(hosts[0], request.headers.get("Origin")):
            return connection.respond(HTTPStatus.FORBIDDEN, _WRONG_ORIGIN)
        return None

    async def _carry(self, websocket: ServerConnection) -> None:
        """Serve one browser. What is wrong is the reason of the close: of an HTTP status a page sees nothing."""
        assert websocket.request is not None
        offered = ",".join(websocket.request.headers.get_all("Sec-WebSocket-Protocol"))
        if not self._access.admits_token(offered):
            await websocket.close(CloseCode.POLICY_VIOLATION, _NO_TOKEN)
            return
        if websocket.request.path.partition("?")[0] == HISTORY:
            assert self._history is not None
            await self._history.serve(websocket)
        else:
            await self._relay(websocket)

    async def _relay(self, websocket: ServerConnection) -> None:
        assert self._upstream is not None
        try:
            reader, writer = await self._upstream.connect()
        except NoBroker as error:
            await websocket.close(CloseCode.TRY_AGAIN_LATER, _cut(str(error)))
            return
        await relay(websocket, reader, writer)


def _document(connection: ServerConnection, page: Page) -> Response:
    response = connection.respond(HTTPStatus.OK, page.html)
    del response.headers["Content-Type"]  # another value would be added to it
    response.headers.update(_headers(page))
    return response


def _headers(page: Page) -> Mapping[str, str]:
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": f"{page.policy}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _cut(reason: str) -> str:
    return reason.encode()[:_MAX_REASON].decode(errors="ignore")
