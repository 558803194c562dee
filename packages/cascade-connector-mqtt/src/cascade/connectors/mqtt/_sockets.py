"""Lets the event loop watch the socket of one of aiomqtt's clients, in one step.

aiomqtt does so in several turns of the loop, and begins while a thread still connects: by then the
socket may be closed, and its number another's. What is private to aiomqtt 2 is touched here, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from typing import Any


def watch_when_connected(context: Any) -> None:
    """Have the socket of a new client watched as soon as it is connected, and not before."""
    context._client.on_socket_open = None
    context._client.on_socket_register_write = functools.partial(_register_write, context)
    context._client_connect = functools.partial(_connect, context, context._client_connect)


def _connect(context: Any, connect: Callable[[], None]) -> None:
    connect()  # in a thread
    with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
        context._loop.call_soon_threadsafe(_watch_socket, context)


def _watch_socket(context: Any) -> None:
    paho, loop = context._client, context._loop
    if (sock := paho.socket()) is None:
        return
    loop.add_reader(sock.fileno(), _read, context, paho)
    if paho.want_write():
        loop.add_writer(sock.fileno(), _write, context, paho)
    context._misc_task = loop.create_task(context._misc_loop())


def _register_write(context: Any, paho: Any, _userdata: Any, sock: Any) -> None:
    loop = asyncio._get_running_loop()
    if loop is not None and loop is context._loop:  # and not a thread that connects
        loop.add_writer(sock.fileno(), _write, context, paho)


def _read(context: Any, paho: Any) -> None:
    more = True
    try:
        while more:
            paho.loop_read()
            more = hasattr(paho._sock, "pending") and paho._sock.pending() > 0  # TLS has read further
    except Exception as exc:
        _fail(context, exc)


def _write(context: Any, paho: Any) -> None:
    try:
        paho.loop_write()
    except Exception as exc:
        _fail(context, exc)


def _fail(context: Any, exc: Exception) -> None:
    if not context._disconnected.done():
        context._disconnected.set_exception(exc)
