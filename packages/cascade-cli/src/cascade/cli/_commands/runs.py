"""``cascade runs``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from cascade.cli._commands._listed import listing, note_ahead, note_contested, note_unknown, show_ago
from cascade.cli._watching.picture import SILENT_SECONDS
from cascade.cli.columns import Column, listed
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.durations import show_duration
from cascade.cli.link import Address
from cascade.cli.snapshot import CONSTRAINTS, ENDED, RUNS, STATUS, read
from cascade.wire import label, run_rows, seconds

COLUMNS = (
    Column("run_id", "run"),
    Column("source", "engine"),
    Column("target"),
    Column("status"),
    Column("started", "began", show_ago),
    Column("ended", show=show_ago),
    Column("tasks", show=lambda tasks: ", ".join(f"{n} {label(word)}" for word, n in tasks.items())),
    Column("known", "of", right=True),
    Column("percent", "done", lambda percent: "" if percent is None else f"{percent}%", right=True),
    Column("by"),
    Column("held", "held by", listed),
    Column("error"),
    Column("interrupted", "ran when the link broke", listed),
)


def _age(row: Mapping[str, Any]) -> tuple[bool, float]:
    """Return the place of a run in the list: those that have not ended come first, of each kind the newest."""
    ended = seconds(row.get("ended") or "")
    return ended is not None, -(ended or seconds(row.get("started") or "") or 0.0)


@make(name="runs")
@listing
def command(address: Address, listen: float) -> None:
    """List the runs: those that run now, and those that ended last, the newest first."""
    view, now = read(address, STATUS, CONSTRAINTS, RUNS, ENDED, listen=listen)
    empty = "no runs; an engine without a name reports every 10 s: cascade runs --listen 12s waits for it"
    output = settings().output
    output.rows(sorted(run_rows(view, now), key=_age), COLUMNS, empty=empty)
    note_contested(view, now)
    note_unknown(view, now)
    note_ahead(view)
    for engine in view.live(now):
        reported = seconds(engine.runs.ts) if engine.runs is not None and engine.runs.runs else None
        age = 0.0 if reported is None else time.time() - reported
        if age > SILENT_SECONDS:
            output.note(
                f"the last report of {engine.source} is {show_duration(age)} old: not known whether its runs go on"
            )
