"""``cascade workflows``."""

from __future__ import annotations

from typing import Any

import click

from cascade.cli._commands._listed import show_age
from cascade.cli._starting import offer_rows
from cascade.cli.columns import Column
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.errors import CommandError
from cascade.cli.link import Address, with_broker
from cascade.cli.snapshot import STATUS, WORKFLOWS, read


def _parameters(schema: Any) -> str:
    required = schema.get("required", ())
    return " ".join(name if name in required else f"[{name}]" for name in schema.get("properties", ()))


def _last(last: Any) -> str:
    return "" if last is None else f"{last['status']} {show_age(last['ended'])} ago"


COLUMNS = (
    Column("name", "workflow"),
    Column("source", "engine"),
    Column("params", "parameters", _parameters),
    Column("overlap"),
    Column("accepting"),
    Column("last", "last run", _last),
    Column("doc", "about"),
)


@make(name="workflows")
@click.argument("source", required=False, default="", metavar="[SOURCE]")
@with_broker
def command(address: Address, source: str) -> int:
    """List the workflows that engines start when they are asked.

    A workflow of an engine that is not online is not accepting.
    """
    view, now = read(address, STATUS, WORKFLOWS)
    rows = [row for row in offer_rows(view, now) if source in ("", row["source"])]
    if source and not rows:
        raise CommandError(f"{source} offers no workflow", "cascade workflows lists all")
    settings().output.rows(
        rows, COLUMNS, empty="no workflows; cascade serve FILE.py --name ENGINE offers some"
    )
    return 0
