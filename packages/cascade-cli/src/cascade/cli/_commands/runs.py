"""``cascade runs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade.cli._commands._listed import listing, show_age
from cascade.cli.columns import Column
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.link import Address
from cascade.cli.snapshot import RUNS, STATUS, read
from cascade.wire import run_rows


def _show_counts(counts: Mapping[str, Any]) -> str:
    return " ".join(f"{count} {state.lower()}" for state, count in counts.items())


COLUMNS = (
    Column("run_id", "run"),
    Column("source", "engine"),
    Column("target"),
    Column("status"),
    Column("started", "began", lambda value: f"{show_age(value)} ago" if value else ""),
    Column("counts", "tasks", _show_counts),
    Column("error"),
)


@make(name="runs")
@listing
def command(address: Address, listen: float) -> None:
    """List the runs: those that run now, and those that ended last."""
    view, now = read(address, STATUS, RUNS, listen=listen)
    empty = "no runs; an engine without a name reports every 10 s: cascade runs --listen 12s waits for it"
    settings().output.rows(run_rows(view, now), COLUMNS, empty=empty)
