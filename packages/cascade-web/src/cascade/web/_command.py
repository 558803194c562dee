"""``cascade web``."""

from __future__ import annotations

import asyncio
import os
import secrets
from functools import partial
from pathlib import Path

import click

from cascade.cli import CommandError, command, link, settings
from cascade.cli.errors import USAGE
from cascade.cli.link import Address
from cascade.cli.listening import PORT, bind_address, is_local, name_of, url_of
from cascade.web._assembly import assemble, page
from cascade.web._history import History
from cascade.web._relay_access import RelayAccess
from cascade.web._server import RELAY, USUAL_PORT, WebServer
from cascade.web._upstream import Upstream

_OVER_WEBSOCKET = ("ws", "wss")


@command(name="web")
@click.option("--port", type=PORT, default=USUAL_PORT, show_default=True, help="The port for the page.")
@click.option(
    "--bind", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="The address to listen on."
)
@click.option(
    "--save",
    "path",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the page to a file, and end.",
)
@click.option(
    "--history",
    "collected",
    metavar="FILE.sqlite",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Show the runs that cascade collect has kept, too.",
)
@partial(link.with_optional_broker, login=False)
def web(port: int, bind: str, path: Path | None, collected: Path | None, address: Address | None) -> int:
    """Show and steer engines in a browser.

    Serves one page on this machine, and carries its bytes to the broker. The page logs in by itself, so the
    broker's access rules hold. With --bind others can open it, with the link that is printed. With --history the page
    also shows past runs: to everyone who may open it, whatever the broker's rules say. Ctrl-C ends it.
    """
    if path is not None:
        _save(path)
        return 0
    if address is None:
        remedy = "pass --broker mqtt://localhost, or set CASCADE_BROKER"
        raise CommandError("no broker is named", remedy, code=USAGE)
    history = None if collected is None else History(collected)
    if history is not None and (problem := history.check()):
        settings().output.note(problem)
    link.run(_serve(address, bind_address(bind), port, history), debug=settings().debug)
    return 0


def _save(path: Path) -> None:
    try:
        path.write_text(page(), encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written: {error.strerror}", "choose another for --save"
        ) from error
    settings().output.line(f"{path} is the page: open it in a browser, or put it on a web server")


async def _serve(address: Address, host: str, port: int, history: History | None) -> None:
    """Serve until the command is ended."""
    token = None if is_local(host) else secrets.token_urlsafe(18)
    direct = address.place.partition(":")[0] in _OVER_WEBSOCKET
    made = assemble(address.place if direct else RELAY, history=history is not None)
    server = WebServer(made, None if direct else Upstream.of(address.url), RelayAccess(token), history)
    async with server.listening(host, port):
        _describe(address, host, port, token=None if direct and history is None else token, direct=direct)
        await asyncio.Event().wait()


def _describe(address: Address, host: str, port: int, *, token: str | None, direct: bool) -> None:
    fragment = f"#token={token}" if token is not None else ""
    url = f"{url_of('http', name_of(host), port)}/{fragment}"
    output = settings().output
    if output.json:
        output.document({"url": url, "broker": address.place, "pid": os.getpid()})
        return
    where = "this machine only" if is_local(host) else "anyone with this link may use it"
    output.line(f"Open {url} ({where})")
    way = "directly" if direct else "through this command"
    output.line(f"The page uses the broker {address.place} {way}.")
    output.line("Ctrl-C ends it.")
