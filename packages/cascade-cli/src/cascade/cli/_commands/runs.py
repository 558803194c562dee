"""``cascade runs``."""

from __future__ import annotations

from cascade.cli._commands._listed import listing, show_age
from cascade.cli.columns import Column
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.link import Address
from cascade.cli.snapshot import CONSTRAINTS, RUNS, STATUS, read
from cascade.wire import label, run_rows

COLUMNS = (
    Column("run_id", "run"),
    Column("source", "engine"),
    Column("target"),
    Column("status"),
    Column("started", "began", lambda value: f"{show_age(value)} ago" if value else ""),
    Column("tasks", show=lambda tasks: ", ".join(f"{n} {label(word)}" for word, n in tasks.items())),
    Column("percent", "done", lambda percent: "" if percent is None else f"{percent}%", right=True),
    Column("error"),
)


@make(name="runs")
@listing
def command(address: Address, listen: float) -> None:
    """List the runs: those that run now, and those that ended last."""
    view, now = read(address, STATUS, CONSTRAINTS, RUNS, listen=listen)
    empty = "no runs; an engine without a name reports every 10 s: cascade runs --listen 12s waits for it"
    settings().output.rows(run_rows(view, now), COLUMNS, empty=empty)
