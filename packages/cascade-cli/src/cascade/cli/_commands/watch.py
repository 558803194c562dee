"""``cascade watch``."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, aclosing, nullcontext

import click

from cascade.cli import link
from cascade.cli._watching.done import End, Until
from cascade.cli._watching.feed import Feed
from cascade.cli._watching.show import Lines, Show, live_screen
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.errors import OK
from cascade.cli.link import Address
from cascade.cli.output import Output


@make(name="watch")
@click.option("--plain", is_flag=True, help="One line for each change, as in a pipe.")
@click.option(
    "--until-done",
    metavar="RUN[@ENGINE]",
    help="End with this run, by its id or name, and with its exit code.",
)
@link.with_broker
def command(address: Address, *, plain: bool, until_done: str | None) -> int:
    """Watch engines and runs live: progress, what waits and why, failures, constraints.

    On a terminal it is a screen that is drawn again; in a pipe, or with --plain, one line for each change. With
    --json each line is a JSON object. Ctrl-C ends it.
    """
    found = settings()
    until = Until(until_done) if until_done else None
    return link.run(_watch(address, found.output, plain=plain, until=until), debug=found.debug)


async def _watch(address: Address, output: Output, *, plain: bool, until: Until | None) -> int:
    async with link.connected(address) as connector:
        feed = Feed(connector, user=address.user)
        with _show(output, address, plain=plain) as show:
            end = await _follow(feed, show, output, until)
    if end is None:
        return OK
    output.note(end.text)
    return end.code


async def _follow(feed: Feed, show: Show, output: Output, until: Until | None) -> End | None:
    """Show the feed until the run has ended; return None if the reader of the output has gone before."""
    # so that the watch ends before the link does
    async with aclosing(feed.ticks()) as ticks:
        async for _ in ticks:
            end = until.end(feed.view, time.monotonic()) if until is not None else None
            feed.waits = until.note(feed.view) if until is not None and end is None and feed.complete else ""
            show.update(feed)
            output.check_reader()
            if output.closed:
                return None
            if end is not None:
                return end
    return None


def _show(output: Output, address: Address, *, plain: bool) -> AbstractContextManager[Show]:
    if plain or not output.terminal:
        return nullcontext(Lines(output, over_nats=address.over_nats))
    return live_screen(output, f"cascade watch {address.place}", over_nats=address.over_nats)
