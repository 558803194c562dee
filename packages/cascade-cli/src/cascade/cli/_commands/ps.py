"""``cascade ps``."""

from __future__ import annotations

from typing import Any

from cascade.cli._commands._listed import (
    SINCE,
    listing,
    note_ahead,
    note_contested,
    note_unknown,
    show_age,
    show_ago,
)
from cascade.cli.columns import Column, listed
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.link import Address
from cascade.cli.snapshot import CONSTRAINTS, RUNS, STATUS, WORKFLOWS, read
from cascade.interfaces.wire import timestamp
from cascade.wire import EngineView, engine_rows


def _held(leases: list[dict[str, Any]]) -> str:
    ages = ((lease["name"], show_age(lease["since"])) for lease in leases)
    return ", ".join(f"{name} for {age}" if age else name for name, age in ages)


COLUMNS = (
    Column("source", "engine"),
    Column("status"),
    SINCE,
    Column("reported", "last report", show_ago, right=True),
    Column("runs", right=True),
    Column("paused"),
    Column("held", "held by", listed),
    Column("sync"),
    Column("project_id", "project"),
    Column("host"),
    Column("pid", right=True),
    Column("workflows"),
    Column("leases", "leases", _held),
)


@make(name="ps")
@listing
def command(address: Address, listen: float) -> None:
    """List the engines that the broker knows: online, lost (no connection), ended or unknown (old reports only); and the workflows that they start when asked."""
    view, now = read(address, STATUS, CONSTRAINTS, RUNS, WORKFLOWS, listen=listen)
    empty = "no engines; one without a name reports every 10 s while it runs: cascade ps --listen 12s waits for it"
    rows = [
        {
            **row,
            **({"runs": None, "paused": None} if view.engines[row["source"]].is_unreported else {}),
            "reported": _reported(view.engines[row["source"]], now),
            "workflows": _offered(view.engines[row["source"]], now),
            "leases": _leases(view.engines[row["source"]], now),
        }
        for row in engine_rows(view, now)
    ]
    output = settings().output
    output.rows(rows, COLUMNS, empty=empty)
    note_contested(view, now)
    if unproved := [row["source"] for row in rows if view.engines[row["source"]].has_no_birth]:
        output.note(
            f"the session of {', '.join(unproved)} has no birth on the broker: any client may have written its report"
        )
    note_unknown(view, now)
    note_ahead(view)


def _reported(engine: EngineView, now: float) -> str | None:
    """Return when an engine that is gone has reported last, by its own clock."""
    return None if engine.is_live(now) or engine.reported is None else timestamp(engine.reported)


def _offered(engine: EngineView, now: float) -> list[str]:
    """Return the names of the workflows that an engine starts now."""
    if engine.workflows is None or not engine.is_live(now):
        return []
    return [row.name for row in engine.workflows.workflows if row.accepting]


def _leases(engine: EngineView, now: float) -> list[dict[str, Any]]:
    """Return the leases that an engine says it holds, each once, with the term and since when."""
    if engine.workflows is None or not engine.is_live(now):
        return []
    held = {
        row.lease.name: row.lease
        for row in engine.workflows.workflows
        if row.lease is not None and row.lease.held
    }
    return [{"name": name, "term": lease.term, "since": lease.since} for name, lease in sorted(held.items())]
