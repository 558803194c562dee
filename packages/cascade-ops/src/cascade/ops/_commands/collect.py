"""``cascade collect``."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

from cascade.cli import link
from cascade.cli.columns import Column
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.durations import show_duration
from cascade.cli.errors import OK, USAGE, CommandError
from cascade.cli.link import Address, Link
from cascade.cli.params import DURATION, HOST_PORT, URL
from cascade.interfaces.abilities import SupportsBacklog, SupportsKeep, supports
from cascade.interfaces.distribution import install_line
from cascade.ops._collecting.collector import Collector
from cascade.ops._collecting.lines_file import LinesFile
from cascade.ops._collecting.message import EventFile, Hole, Received
from cascade.ops._collecting.sqlite_file import SqliteFile
from cascade.ops._collecting.write_errors import in_words, is_full
from cascade.wire import EventMessage

if TYPE_CHECKING:
    from cascade.ops._exporting.metrics import Metrics
    from cascade.ops._exporting.otlp import Exporting

BACKLOG = 100_000
"""Messages that may wait when many come at once."""


class Exports(NamedTuple):
    """Where the collector passes on what it has received, beside the file."""

    prometheus: tuple[str, int] | None
    otlp: str | None


_HOLES = (
    Column("source", "engine"),
    Column("run_id", "run"),
    Column("token"),
    Column("missing", show=lambda ranges: ", ".join(f"{first}-{last}" for first, last in ranges)),
    Column("since", show=lambda text: show_duration(time.time() - datetime.fromisoformat(text).timestamp())),
)


@make(name="collect")
@click.option(
    "--to",
    "path",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="An SQLite file (.sqlite) or JSON lines (.jsonl).",
)
@click.option("--ack", is_flag=True, help="Acknowledge to engines whose outbox waits for it.")
@click.option(
    "--name", default="collector-1", show_default=True, help="The collector's name in acknowledgements."
)
@click.option("--holes", is_flag=True, help="List the events that are missing in FILE, and end.")
@click.option(
    "--keep",
    type=DURATION,
    metavar="DURATION",
    help="Delete a run so long after its last event; .sqlite only.",
)
@click.option(
    "--prometheus",
    "serve",
    type=HOST_PORT,
    metavar="ADDRESS:PORT",
    help="Serve metrics, such as 127.0.0.1:9464.",
)
@click.option(
    "--otlp",
    type=URL,
    metavar="URL",
    help="Send traces and metrics to an OTLP endpoint, such as http://127.0.0.1:4318.",
)
@link.with_optional_broker
def command(
    address: Address | None,
    *,
    path: Path,
    ack: bool,
    name: str,
    holes: bool,
    keep: float | None,
    serve: tuple[str, int] | None,
    otlp: str | None,
) -> int:
    """Keep the events of all engines in FILE: each once, whatever arrives twice or late. Ctrl-C ends it.

    It waits for a broker that is not there yet. The broker keeps events for the collector while it is away. With --ack an engine with Outbox(ack="collector-1")
    keeps each event until it is in FILE.
    """
    found = settings()
    if holes:
        _list(path)
        return OK
    if address is None:
        raise CommandError(
            "no broker is named", "pass --broker mqtt://localhost, or set CASCADE_BROKER", code=USAGE
        )
    file = _open(path, keep=keep, alone=True)
    try:
        note = partial(_note, path)
        link.run(
            _collect(address, file, Exports(serve, otlp), name=name if ack else None, note=note),
            debug=found.debug,
        )
    except (sqlite3.Error, OSError) as exc:
        if isinstance(exc, ConnectionError):
            raise
        raise _failed(path, "cannot be written", exc, "what is not stored is not acknowledged") from exc
    finally:
        file.close()
    return OK


def _note(path: Path, text: str) -> None:
    settings().output.note(f"{path} {text}")


async def _collect(
    address: Address, file: EventFile, to: Exports, *, name: str | None, note: Callable[[str], None]
) -> None:
    if to.prometheus is None and to.otlp is None:
        await _store(address, file, name=name, note=note)
        return
    metrics, followed = _metrics_of("--prometheus" if to.prometheus else "--otlp")
    observe: Callable[[EventMessage], object] = metrics.observe
    async with AsyncExitStack() as stack:
        if to.prometheus is not None:
            from cascade.ops._exporting.server import served

            stack.enter_context(served(metrics, *to.prometheus))
        follow = None
        if to.otlp is not None:
            exporting = await stack.enter_async_context(_exporting(to.otlp, file, metrics))
            follow, observe = exporting.follow, exporting.observe
        await stack.enter_async_context(followed(address, metrics))
        await _store(address, file, name=name, note=note, observe=observe, follow=follow)


async def _store(
    address: Address,
    file: EventFile,
    *,
    name: str | None,
    note: Callable[[str], None],
    observe: Callable[[EventMessage], object] | None = None,
    follow: Callable[[Sequence[Received]], None] | None = None,
) -> None:
    connector = cast(Link, address.connector(presence=False, required=True))
    collector = Collector(connector, file, name=name, note=note, observe=observe, follow=follow)
    if supports(connector, SupportsBacklog):
        connector.expect_backlog(BACKLOG)
    if supports(connector, SupportsKeep):
        connector.keep(f"cascade-collect-{file.session}", collector.all_stored)
    await collector.subscribe()
    # a session may bring so much that the broker's answers come only behind what has to be stored first
    connecting = asyncio.ensure_future(link.connect_when_there(connector))
    collecting = asyncio.ensure_future(collector.run())
    try:
        await _connected(connecting, collecting)
        try:
            await collecting
        finally:
            try:
                await connector.disconnect()
            finally:
                # until then messages come, which the broker does not send again
                await collector.store_rest()
    finally:
        collecting.cancel()
        await asyncio.wait({collecting})


async def _connected(connecting: asyncio.Future[None], collecting: asyncio.Future[None]) -> None:
    """Wait for the link, but no longer than what comes can be stored."""
    try:
        await asyncio.wait({connecting, collecting}, return_when=asyncio.FIRST_COMPLETED)
        if collecting.done():
            collecting.result()
        await connecting
    finally:
        connecting.cancel()
        await asyncio.wait({connecting})


def _metrics_of(
    option: str,
) -> tuple[Metrics, Callable[[Address, Metrics], AbstractAsyncContextManager[None]]]:
    """Return what holds the metrics, and what follows the broker for them."""
    try:
        from cascade.ops._exporting.following import followed
        from cascade.ops._exporting.metrics import Metrics
    except ImportError:
        extra = option.removeprefix("--")
        raise CommandError(
            f"{option} needs prometheus-client", install_line(extra, "cascade-ops"), code=USAGE
        ) from None
    return Metrics(), followed


def _exporting(url: str, file: EventFile, metrics: Metrics) -> AbstractAsyncContextManager[Exporting]:
    try:
        from cascade.ops._exporting.otlp import exporting

        return exporting(url, file, metrics)
    except ImportError:
        raise CommandError(
            "--otlp needs the exporter of OpenTelemetry", install_line("otlp", "cascade-ops"), code=USAGE
        ) from None
    except ValueError as exc:
        what = str(exc).rstrip(".")
        raise CommandError(
            f"OpenTelemetry refuses a variable: {what}",
            "correct or unset it (env | grep OTEL_ lists them)",
            code=USAGE,
        ) from None


def _open(path: Path, *, keep: float | None = None, alone: bool = False) -> EventFile:
    if path.suffix not in (".sqlite", ".jsonl"):
        raise CommandError(f"{path}: the kind of file is unknown", "name it .sqlite or .jsonl", code=USAGE)
    if keep is not None and path.suffix != ".sqlite":
        raise CommandError("--keep needs an SQLite file", "name it .sqlite", code=USAGE)
    if not path.parent.is_dir():
        raise CommandError(f"the folder {path.parent} does not exist", "create it, or name another file")
    try:
        if path.suffix == ".sqlite":
            return SqliteFile(path, keep=keep, alone=alone)
        return LinesFile(path, alone=alone)
    except (OSError, sqlite3.OperationalError) as exc:
        raise _failed(path, "cannot be opened", exc, "check who may write it and its folder") from exc


def _failed(path: Path, how: str, exc: sqlite3.Error | OSError, remedy: str) -> CommandError:
    return CommandError(f"{path} {how}: {in_words(exc)}", "make room on its disk" if is_full(exc) else remedy)


def _list(path: Path) -> None:
    if not path.exists():
        raise CommandError(f"the file {path} does not exist", "cascade collect --to creates it")
    file = _open(path)
    try:
        settings().output.rows([_row(hole) for hole in file.holes()], _HOLES, empty="no event is missing")
    finally:
        file.close()


def _row(hole: Hole) -> dict[str, Any]:
    return {
        "source": hole.series.source,
        "run_id": hole.series.run_id,
        "token": hole.series.token,
        "missing": hole.missing,
        "since": datetime.fromtimestamp(hole.since, UTC).isoformat(),
    }
