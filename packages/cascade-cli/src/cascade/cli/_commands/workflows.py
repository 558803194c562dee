"""``cascade workflows``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click

from cascade.cli._commands._listed import show_age, show_ago
from cascade.cli._offers import offer_rows
from cascade.cli.columns import Column
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.errors import CommandError
from cascade.cli.link import Address, with_broker
from cascade.cli.snapshot import STATUS, WORKFLOWS, read
from cascade.runtime.serving import CronSchedule
from cascade.spec.schedules import every_seconds


def _parameters(schema: Any) -> str:
    required = schema.get("required", ())
    return " ".join(name if name in required else f"[{name}]" for name in schema.get("properties", ()))


def _last(last: Any) -> str:
    return "" if last is None else f"{last['status']} {show_ago(last['ended'])}"


def _schedule(schedule: Any) -> str:
    if schedule is None:
        return ""
    zone = f" ({schedule['tz']})" if schedule.get("tz") else ""
    return f"{schedule['text']}{zone}{'; ' if schedule.get('problem') else ''}{schedule.get('problem', '')}"


def _skipped(schedule: Any) -> str:
    """Return the latest tick that did not start, and why."""
    skipped = schedule.get("skipped") if schedule is not None else None
    return f"{skipped['at']}: {skipped['reason']}" if skipped else ""


def _lease(lease: Any) -> str:
    """Return who holds a lease, as far as the engine of the row knows."""
    if lease is None:
        return ""
    if not lease.get("holder"):
        return f"{lease['name']}, held by no machine"
    since = f" for {age}" if (age := show_age(lease.get("since"))) else ""
    return f"{lease['name']}, held by {lease['holder']}{since}"


COLUMNS = (
    Column("name", "workflow"),
    Column("source", "engine"),
    Column("params", "parameters", _parameters, in_pipe=_parameters),
    Column("schedule", "schedule", _schedule),
    Column("next", "next start"),
    Column("lease", "lease", _lease),
    Column("overlap"),
    Column("accepting"),
    Column("status", "engine is", lambda status: "" if status == "online" else status),
    Column("last", "last run", _last),
    Column("doc", "about"),
    Column("schedule", "not started", _skipped, in_pipe=_skipped),
)


AHEAD = (
    Column("name", "workflow"),
    Column("source", "engine"),
    Column("at", "start"),
    Column("schedule", ""),
)


def _ahead(row: dict[str, Any], at: str) -> dict[str, Any]:
    return {"name": row["name"], "source": row["source"], "at": at, "schedule": _schedule(row["schedule"])}


def _times(row: dict[str, Any], number: int) -> list[str]:
    """Return the times of the next starts, as the engine's report has the first one."""
    schedule = row["schedule"]
    if schedule is None or row["next"] is None:
        return []
    first = datetime.fromisoformat(row["next"])
    if schedule.get("cron") is None:
        step = timedelta(seconds=every_seconds(schedule["every"]))
        return [(first + step * each).isoformat() for each in range(number)]
    cron, at = CronSchedule(schedule["cron"], schedule["tz"]), first.timestamp()
    times = [at]
    while len(times) < number:
        times.append(cron.after(times[-1]))
    return [cron.shown(each) for each in times]


@make(name="workflows")
@click.argument("source", required=False, default="", metavar="[SOURCE]")
@with_broker
@click.option(
    "--next",
    "number",
    type=click.IntRange(1, 100),
    metavar="N",
    help="Print in words and times when each workflow with a schedule starts next, so many times.",
)
def command(address: Address, source: str, number: int | None) -> int:
    """List the workflows that engines start when they are asked, or by the clock.

    A workflow of an engine that is not online is not accepting.
    """
    view, now = read(address, STATUS, WORKFLOWS)
    rows = [row for row in offer_rows(view, now) if source in ("", row["source"])]
    if source and not rows:
        raise CommandError(f"{source} offers no workflow", "cascade workflows lists all")
    if number is not None:
        planned = [_ahead(row, at) for row in rows for at in _times(row, number)]
        settings().output.rows(planned, AHEAD, empty="no workflow has a schedule")
        return 0
    settings().output.rows(
        rows, COLUMNS, empty="no workflows; cascade serve FILE.py --name ENGINE offers some"
    )
    return 0
