"""``cascade broker``."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from cascade.cli._broker.server import PORT as USUAL_PORT
from cascade.cli._broker.server import Server, served
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.errors import USAGE, CommandError
from cascade.cli.listening import PORT, bind_address, is_local, name_of, url_of
from cascade.cli.output import Output
from cascade.interfaces.broker_programs import Listener

_POLL = 0.1


@make(name="broker")
@click.option("--port", type=PORT, default=USUAL_PORT, show_default=True, help="The port for MQTT.")
@click.option(
    "--websockets",
    type=PORT,
    metavar="PORT",
    help="A further port for MQTT over WebSocket, with nats-server; it refuses web sites.",
)
@click.option(
    "--bind", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="The address to listen on."
)
@click.option(
    "--keep",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep what is retained there, for the next start.",
)
def command(port: int, websockets: int | None, bind: str, keep: Path | None) -> int:
    """Start a broker to try things out: mosquitto if it is installed, else nats-server.

    It asks for no password and listens on this machine only, unless --bind gives another address. Ctrl-C ends it.
    """
    listen = Listener(bind_address(bind), port, websockets)
    if websockets == port:
        raise CommandError("--port and --websockets are the same port", "choose two", code=USAGE)
    with _signals_end_it(), served(listen, keep) as server:
        output = settings().output
        _describe(output, server, listen, keep)
        while server.child.running and not output.closed:
            time.sleep(_POLL)
        if not server.child.running:
            raise CommandError(f"{server.program.name} ended by itself: {server.last_words}")
    return 0


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Turn SIGTERM, and a terminal that is closed, into an orderly end."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), _exit) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _describe(output: Output, server: Server, listen: Listener, keep: Path | None) -> None:
    host = name_of(listen.host)
    url = url_of("mqtt", host, listen.port)
    websockets = None if listen.websockets is None else url_of("ws", host, listen.websockets)
    if output.json:
        output.document(
            {"url": url, "websockets": websockets, "program": server.program.name, "pid": server.child.pid}
        )
        return
    where = (
        "this machine only" if is_local(listen.host) else "every program that reaches this address may steer"
    )
    output.line(f"{server.program.name} listens on {url} ({where})")
    if websockets is not None:
        output.line(
            f"MQTT over WebSocket: {websockets} (for programs; cascade web --broker {url} shows a page)"
        )
    output.line("In other terminals:")
    output.line(f"  export CASCADE_BROKER={url}")
    output.line("  cascade run FILE.py --name my-machine")
    output.line("  cascade watch")
    stays = f"what is retained stays in {keep}" if keep is not None else "what is retained is then gone"
    output.line(f"Ctrl-C ends it; {stays}.")
