"""Watch the socket of one of aiomqtt's clients from the event loop, in one step.

aiomqtt needs several loop iterations for it, and starts while a thread still connects: by then the
socket may be closed, and its number may belong to another socket. Private attributes of aiomqtt 2
are used here, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from typing import Any

from cascade.connectors.mqtt._aiomqtt.packets import Incoming, join


def watch_when_connected(context: Any, opened: Callable[[], None]) -> None:
    """Watch the socket of a new client as soon as it is connected, and not before; then call ``opened()``."""
    context._client.on_socket_open = None
    context._client.on_socket_register_write = functools.partial(_register_write, context)
    context._client_connect = functools.partial(_connect, context, context._client_connect, opened)


def _connect(context: Any, connect: Callable[[], None], opened: Callable[[], None]) -> None:
    connect()  # in a thread
    with contextlib.suppress(RuntimeError):  # the loop is closed, so no task waits
        context._loop.call_soon_threadsafe(_watch_socket, context, opened)


def _watch_socket(context: Any, opened: Callable[[], None]) -> None:
    paho, loop = context._client, context._loop
    if (sock := paho.socket()) is None:
        return
    loop.add_reader(sock.fileno(), _read, context, Incoming(paho))
    if paho.want_write():
        loop.add_writer(sock.fileno(), _write, context, paho)
    context._misc_task = loop.create_task(context._misc_loop())
    if not context._connected.done():
        opened()


def _register_write(context: Any, paho: Any, _userdata: Any, sock: Any) -> None:
    loop = asyncio._get_running_loop()
    if loop is not None and loop is context._loop:  # not in a thread that connects
        loop.add_writer(sock.fileno(), _write, context, paho)


def _read(context: Any, incoming: Incoming) -> None:
    try:
        incoming.read()
    except Exception as exc:
        _fail(context, exc)


def _write(context: Any, paho: Any) -> None:
    try:
        join(paho._out_packet)
        paho.loop_write()
    except Exception as exc:
        _fail(context, exc)


def _fail(context: Any, exc: Exception) -> None:
    if not context._disconnected.done():
        context._disconnected.set_exception(exc)
