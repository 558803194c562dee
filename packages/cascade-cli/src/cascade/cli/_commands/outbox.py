"""``cascade outbox list``, ``send`` and ``drop``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cascade.cli import link
from cascade.cli.columns import Column
from cascade.cli.command import command as make
from cascade.cli.command import common_options, settings
from cascade.cli.durations import show_duration
from cascade.cli.errors import FAILED, OK, USAGE, CommandError
from cascade.cli.link import Address

if TYPE_CHECKING:
    from cascade.runtime import Outbox, SenderSummary

STEP = 5.0
"""Seconds after which ``send`` reports how much is left."""
PATIENCE = 30.0
"""Seconds for which ``send`` waits for the disk to count that."""

_REMEDIES = {
    "online": "send again when the process that is online as {name} has ended",
    "silent": "the broker did not show in time what it holds; send again, and if that repeats, run cascade doctor as this user",
    "refused": "the broker does not let this user write cascade/state/{name}/+ and cascade/status/{name}, or read them back; send as {name}",
}
"""What to do about reports that stay."""

_FOLDER = click.argument("folder", type=click.Path(file_okay=False, readable=False, path_type=Path))


@click.group(name="outbox")
def command() -> None:
    """Look into an outbox on disk, send its events, or drop them."""


def _age(oldest: Any) -> str:
    return "" if oldest is None else show_duration(time.time() - oldest)


_SENDERS = (
    Column("sender"),
    Column("waiting", right=True),
    Column("sent", right=True),
    Column("put_aside", "aside", right=True),
    Column("oldest", show=_age, right=True),
    Column("dropped"),
    Column("in_use", "in use"),
    Column("problem"),
)
_ASIDE = (Column("sender"), Column("topic"), Column("payload"))


@make(name="list")
@_FOLDER
@click.option("--aside", is_flag=True, help="List the messages that the broker refused, each with its text.")
def _list(folder: Path, *, aside: bool) -> None:
    """List the senders in FOLDER: how many messages wait, are put aside, or were dropped."""
    found = _outbox(folder).senders()
    if aside:
        rows = [
            {"sender": each.sender, "topic": topic, "payload": payload}
            for each in found
            for topic, payload in each.aside
        ]
        settings().output.rows(rows, _ASIDE, empty="nothing is put aside")
    else:
        settings().output.rows([*map(_row, found)], _SENDERS, empty="no message waits")


@make(name="send")
@_FOLDER
@link.with_broker
def _send(address: Address, folder: Path) -> int:
    """Send the messages in FOLDER whose processes have ended, the oldest file first.

    What is not sent when this ends stays in the folder. Under access rules, send as the user of the engine: others may not write its reports.
    """
    outbox = _outbox(folder)
    outbox.senders()  # refuses a folder that cannot be used
    left, refused, stays = link.run(_send_all(outbox, address), debug=settings().debug)
    unreadable = [each for each in outbox.senders() if each.problem and not each.in_use]
    for each in unreadable:
        remedy = f"move its file out of {folder} if you can do without them"
        settings().output.note(f"the messages of {each.sender} are not sent: {each.problem}; {remedy}")
    for name, reason in stays.items():
        settings().output.note(
            f"`cascade runs` does not show how earlier runs of {name} ended: {_REMEDIES[reason].format(name=name)}"
        )
    if refused:
        settings().output.note(
            f"the broker refuses messages ({refused}): send as the user of the engine that wrote them, or delete them with "
            f"cascade outbox drop {folder}"
        )
    if left:
        settings().output.line(f"{left} messages are left")
    else:
        settings().output.line(f"all {'other ' if unreadable else ''}messages are sent")
    return FAILED if left or unreadable or set(stays.values()) - {"online"} else OK


async def _send_all(outbox: Outbox, address: Address) -> tuple[int, str, Mapping[str, str]]:
    """Send until no message moves, then what the processes would have reported last.

    Return how many messages are left that could be sent, why the broker refuses one, and the names whose reports stay, with the reason.
    """
    async with (
        link.connected(address, learns_refusals=True) as connector,
        outbox.sender(connector, adopt=True, keep_refused=True) as sender,
    ):
        before = None
        while not await sender.flush(STEP) and (left := await sender.left(PATIENCE)) not in (0, before):
            settings().output.note(f"{left} messages wait")
            before = left
        left = await sender.left(PATIENCE)
        return left, sender.refused, {} if left else await sender.report(STEP)


@make(name="drop")
@_FOLDER
@click.option("--sender", metavar="NAME", help="Only those of this sender.")
@click.option("--aside", is_flag=True, help="Only messages that are put aside.")
@click.option("--yes", is_flag=True, help="Drop without asking.")
def _drop(folder: Path, *, sender: str | None, aside: bool, yes: bool) -> int:
    """Delete the messages in FOLDER of processes that have ended. They are lost."""
    if not yes and not sys.stdin.isatty():
        raise CommandError("nothing is dropped without a terminal to ask on", "pass --yes", code=USAGE)
    outbox = _outbox(folder)
    found = [each for each in outbox.senders() if sender in (None, each.sender)]
    count = sum(len(each.aside) if aside else _messages(each) for each in found)
    if sender is None:
        count -= sum(len(each.aside) if aside else _messages(each) for each in found if each.in_use)
    if count and not yes and not click.confirm(f"Drop {count} messages for good?", err=True):
        return FAILED
    settings().output.line(f"{outbox.drop(sender, aside=aside)} messages are dropped")
    return OK


def _outbox(folder: Path) -> Outbox:
    from cascade.runtime import Outbox

    return Outbox(folder)


def _row(found: SenderSummary) -> dict[str, Any]:
    row = asdict(found)
    row["put_aside"] = len(row.pop("aside"))
    return row


def _messages(found: SenderSummary) -> int:
    return found.waiting + found.sent + len(found.aside)


for each in (_list, _send, _drop):
    command.add_command(each)
common_options(command)
