"""``cascade logs``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from pathlib import Path

import click

from cascade.cli import link
from cascade.cli._logs.choice import LEVELS, Choice, is_of
from cascade.cli._logs.lines import LogLines
from cascade.cli.collected import CollectedFile
from cascade.cli.collected.logs import Of, lines_of, log_lines
from cascade.cli.collected.reading import whole
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.errors import OK, USAGE, CommandError
from cascade.cli.link import Address
from cascade.cli.params import DURATION
from cascade.cli.snapshot import RUNS, not_permitted
from cascade.interfaces.topics import LOGS
from cascade.interfaces.watch import Complete, Lost, Message
from cascade.wire import EventMessage, LogBody, View

LINES = f"cascade/telemetry/+/+/+/{LOGS}"
POLL_SECONDS = 0.5
"""Between two looks into a file that a collector writes."""
_NO_BROKER = "pass --broker mqtt://localhost, set CASCADE_BROKER, or read a collector's file with --from"


@make(name="logs")
@click.argument("name", required=False, metavar="[RUN | ENGINE]")
@click.option("-f", "--follow", is_flag=True, help="With --from: go on with what the collector adds.")
@click.option(
    "--level",
    "least",
    type=click.Choice([*LEVELS], case_sensitive=False),
    default="DEBUG",
    help="The lowest level.",
)
@click.option("--task", metavar="PATTERN", default="", help="Only lines of these tasks, such as 'resize*'.")
@click.option("--since", type=DURATION, metavar="DURATION", help="With --from: only the latest, such as 2h.")
@click.option(
    "--from",
    "path",
    metavar="FILE.sqlite",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Read the lines that cascade collect has kept.",
)
@link.with_optional_broker
def command(
    name: str | None,
    *,
    follow: bool,
    least: str,
    task: str,
    since: float | None,
    path: Path | None,
    address: Address | None,
) -> int:
    """Show the log lines that tasks write, of all engines, of one, or of one run.

    Engines send them with logs="INFO". A broker keeps none: without --from the command shows those that come from now
    on, until Ctrl-C.
    """
    choice, lines = Choice(least.upper(), task), LogLines(settings().output)
    if path is None and since is not None:
        raise CommandError("--since needs --from: a broker keeps no log lines", "leave it out", code=USAGE)
    if path is None and address is None:
        raise CommandError("no broker is named", _NO_BROKER, code=USAGE)
    if path is not None:
        link.run(_from_file(path, name, choice, lines, since=since, follow=follow), debug=settings().debug)
    elif address is not None:
        link.run(_live(address, name or "", choice, lines), debug=settings().debug)
    return OK


async def _live(address: Address, name: str, choice: Choice, lines: LogLines) -> None:
    output, view, ready = settings().output, View(), False
    async with link.connected(address) as connector, aclosing(connector.watch(RUNS, LINES)) as stream:
        async for item in stream:
            if isinstance(item, Lost):
                if not ready:
                    raise not_permitted(item.reason)
                output.note(f"link lost: {item.reason}; connecting again")
            elif isinstance(item, Complete):
                ready = True
            elif isinstance(item, Message):
                found = view.fold(item.topic, item.payload, now=time.monotonic(), retained=item.retain)
                if isinstance(found, EventMessage) and is_of(found, name, view):
                    # a duplicate is not in the view twice
                    lines.show(_bodies([found] if view.logs and view.logs[-1] is found else [], choice))
            if output.closed:
                return


async def _from_file(
    path: Path, name: str | None, choice: Choice, lines: LogLines, *, since: float | None, follow: bool
) -> None:
    output = settings().output
    with CollectedFile(path) as file:
        of = whole(file, lambda each: Of() if name is None else lines_of(each, name))
        begin = 0.0 if since is None else time.time() - since
        found, after = whole(file, lambda each: log_lines(each, of, since=begin))
        if file.problem:
            output.note(file.problem)
    lines.show(_bodies(sorted(found, key=lambda event: event.seconds or 0.0), choice))
    while follow and not output.closed:
        await asyncio.sleep(POLL_SECONDS)
        output.check_reader()
        with CollectedFile(path) as file:
            found, after = log_lines(file, of, after=after)
        lines.show(_bodies(found, choice))


def _bodies(events: Iterable[EventMessage], choice: Choice) -> Iterator[tuple[EventMessage, LogBody]]:
    for event in events:
        if isinstance(event.content, LogBody) and choice.has(event.content):
            yield event, event.content
