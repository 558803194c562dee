"""Serve the socket of one of aiomqtt's clients from the event loop.

aiomqtt starts while a thread still connects: by then the socket may be closed, and its number may belong to
another socket. Private attributes of aiomqtt 2 are used here, too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

UPKEEP = 1.0
"""Seconds between two calls that send what keeps the connection alive; aiomqtt's own value."""


class SocketService:
    """Reads and writes for a new client from the moment when it is connected; made on the event loop.

    :param context: an ``aiomqtt.Client`` that was not entered.
    """

    def __init__(self, context: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._paho = context._client
        self._connect = context._client_connect
        self._upkeep: asyncio.Task[None] | None = None
        context._client_connect = self._connect_in_thread
        self._paho.on_socket_open = None
        self._paho.on_socket_register_write = self._register_write

    def stop(self) -> None:
        """End the task that keeps the connection alive. Idempotent."""
        if self._upkeep is not None:
            self._upkeep.cancel()

    def _connect_in_thread(self) -> None:
        self._connect()
        with contextlib.suppress(RuntimeError):  # the loop is closed, so no task waits
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if (sock := self._paho.socket()) is None:
            return
        self._loop.add_reader(sock.fileno(), self._call, self._read)
        if self._paho.want_write():
            self._loop.add_writer(sock.fileno(), self._call, self._paho.loop_write)
        self._upkeep = self._loop.create_task(self._keep_alive(), name="cascade-mqtt-upkeep")

    def _register_write(self, _paho: Any, _userdata: Any, sock: Any) -> None:
        if asyncio._get_running_loop() is self._loop:  # not in the thread that connects
            self._loop.add_writer(sock.fileno(), self._call, self._paho.loop_write)

    def _read(self) -> None:
        more = True
        while more:
            self._paho.loop_read()
            sock = self._paho.socket()
            more = hasattr(sock, "pending") and sock.pending() > 0  # decrypted bytes of TLS

    def _call(self, serve: Callable[[], object]) -> None:
        try:
            serve()
        except Exception as exc:
            if not self._context._disconnected.done():
                self._context._disconnected.set_exception(exc)

    async def _keep_alive(self) -> None:
        while self._paho.loop_misc() == 0:  # noqa: ASYNC110 - paho has to be asked; 0 is success
            await asyncio.sleep(UPKEEP)
