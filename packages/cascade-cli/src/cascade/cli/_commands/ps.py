"""``cascade ps``."""

from __future__ import annotations

from cascade.cli._commands._listed import SINCE, listing
from cascade.cli._steering.publishing import contested_names
from cascade.cli.columns import Column
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.link import Address
from cascade.cli.snapshot import CONSTRAINTS, RUNS, STATUS, read
from cascade.wire import engine_rows

COLUMNS = (
    Column("source", "engine"),
    Column("status"),
    SINCE,
    Column("runs", right=True),
    Column("paused"),
    Column("sync"),
    Column("project_id", "project"),
    Column("host"),
    Column("pid", right=True),
)


@make(name="ps")
@listing
def command(address: Address, listen: float) -> None:
    """List the engines that the broker knows: online, lost (no connection) or ended."""
    view, now = read(address, STATUS, CONSTRAINTS, RUNS, listen=listen)
    empty = "no engines; one without a name reports every 10 s while it runs: cascade ps --listen 12s waits for it"
    rows, output = engine_rows(view, now), settings().output
    output.rows(rows, COLUMNS, empty=empty)
    if contested := [row["source"] for row in rows if row["contested"]]:
        output.note(contested_names(contested))
    if unproved := [row["source"] for row in rows if view.engines[row["source"]].has_no_birth]:
        output.note(
            f"the session of {', '.join(unproved)} has no birth on the broker: any client may have written its report"
        )
