"""``cascade constraints``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from cascade.cli._commands._listed import listing
from cascade.cli.columns import Column, listed
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.durations import show_duration
from cascade.cli.link import Address
from cascade.cli.snapshot import CONSTRAINTS, REGISTERS, STATUS, read
from cascade.wire import View, constraint_rows


def _show_expiry(value: Any) -> str:
    if not isinstance(value, int | float):
        return "never"
    left = value - time.time()
    return f"in {show_duration(left)}" if left > 0 else "expired"


def _show_refused(rows: list[dict[str, str]]) -> str:
    return ", ".join(f"{row['source']} ({row['reason']})" for row in rows)


def _expired_early(row: Mapping[str, Any], view: View, now: float) -> list[str]:
    """Return the live engines for which a constraint has expired that is in force by the clock of this machine."""
    if not isinstance(row["expires_at"], int | float) or row["expires_at"] <= time.time():
        return []
    entries = [
        (engine.source, engine.constraints.applied.get(row["topic"]))
        for engine in view.live(now)
        if engine.constraints is not None
    ]
    return [source for source, entry in entries if entry is not None and entry.status == "expired"]


COLUMNS = (
    Column("scope"),
    Column("type"),
    Column("params"),
    Column("id"),
    Column("by", "claimed by"),
    Column("expires_at", "expires", _show_expiry),
    Column("applied", "obeyed by"),
    Column("refused", "refused by", _show_refused),
)


@make(name="constraints")
@listing
def command(address: Address, listen: float) -> None:
    """List the constraints on the broker: author, expiry, and which engines obey.

    Also those that engines still obey although the broker has lost them.
    """
    view, now = read(address, STATUS, CONSTRAINTS, REGISTERS, listen=listen)
    rows, output = constraint_rows(view, now), settings().output
    output.rows(rows, COLUMNS, empty="no constraints")
    for row in rows:
        if "on_broker" in row:
            output.note(
                f"{row['type']} {row['scope']}: not on the broker, still obeyed by {', '.join(row['applied'])}"
            )
        if early := _expired_early(row, view, now):
            output.note(
                f"{row['type']} {row['scope']}: expired already by the clock of {listed(early)}: set that clock, or write a longer --ttl"
            )
        for gate in row.get("gates", ()):
            output.note(f"{row['type']} {row['scope']}: {gate['state']} in {gate['source']}: {gate['text']}")
