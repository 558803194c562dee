"""``cascade history``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cascade.cli._commands._listed import show_ago
from cascade.cli._commands._one_run import local_time, show_counts, show_runs, show_took
from cascade.cli._commands._recorded import state_in, state_option
from cascade.cli._running.result import as_json
from cascade.cli.collected import CollectedFile
from cascade.cli.collected.night import bands_between
from cascade.cli.collected.reading import finish, whole
from cascade.cli.collected.runs import latest_runs, runs_with_steps
from cascade.cli.columns import Column
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.durations import show_duration
from cascade.cli.errors import USAGE, CommandError
from cascade.cli.params import DURATION
from cascade.interfaces import RunSummary, StepState, StepSummary
from cascade.interfaces.errors import CascadeError
from cascade.interfaces.redaction import Redactor
from cascade.interfaces.text import nearest

MOST = 1_000
"""Runs of a list."""
RUNS = (
    Column("run_id", "run"),
    Column("target"),
    Column("status"),
    Column("attempts", right=True),
    Column("created", "began", show_ago),
    Column("took", show=show_took, right=True),
    Column("counts", "steps", show_counts),
    Column("by"),
    Column("error"),
)
PAUSES = (
    Column("kind", "what", lambda kind: "link lost" if kind == "lost" else kind),
    Column("of"),
    Column("by"),
    Column("start", "from", local_time),
    Column("end", "to", lambda value: "goes on" if value is None else local_time(value)),
)
"""Those that go on have no end."""


@make(name="history")
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--values", is_flag=True, help="Show the recorded values of the run's steps, too.")
@click.option("--prune", is_flag=True, help="Delete the runs that ended more than 30 days ago first.")
@click.option(
    "--from",
    "collected",
    metavar="FILE.sqlite",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Read the events that cascade collect has kept, of all boxes.",
)
@click.option(
    "--pauses",
    type=DURATION,
    metavar="DURATION",
    help="With --from: list the pauses and lost links of that time, such as 12h, the latest first, instead of runs.",
)
@state_option
def command(
    run: str | None,
    *,
    values: bool,
    prune: bool,
    collected: Path | None,
    pauses: float | None,
    state: str | None,
) -> None:
    """List the recorded runs of a folder, or show one run: its failures first, then its slowest steps, then all.

    Nothing is changed, and a run that goes on is not disturbed.
    """
    if pauses is not None:
        if collected is None or run is not None:
            raise CommandError(
                "--pauses needs --from, and no run",
                "write cascade history --from all.sqlite --pauses 12h",
                code=USAGE,
            )
        _list_pauses(collected, pauses)
        return
    if collected is not None:
        if values or prune:
            raise CommandError("--values and --prune need --state", "leave them out", code=USAGE)
        _list_collected(collected, run)
        return
    found, output = state_in(state), settings().output
    if prune:
        output.note(f"deleted {asyncio.run(found.prune())} runs")
    if run is None:
        rows = _latest([_run_row(each) for each in found.runs(limit=MOST + 1)])
        output.rows(rows, RUNS, empty="no recorded runs")
        return
    summary = next(iter(found.runs(run_id=run)), None)
    if summary is None:
        recorded = [each.run_id for each in found.runs(limit=1_000)]
        raise CommandError(f"no run {run!r} is recorded in {state}", _instead_of(run, recorded, state))
    kept = {key: _shown_value(value) for key, value in found.values(run)} if values else {}
    steps = [_step_row(each, kept) for each in found.steps(run)]
    show_runs(output, [{**_run_row(summary), "steps": steps}], values=values)


def _latest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cut a list of runs, and say so."""
    if len(rows) > MOST:
        settings().output.note(f"these are the latest {MOST:,} runs; cascade history RUN shows an older one")
    return rows[:MOST]


def _instead_of(run: str, recorded: Sequence[str], state: str | None) -> str:
    """Return what to write for a run that is not recorded; the id of a start request is the end of its run's id."""
    requested = (each for each in recorded if each.endswith(f"~{run}"))
    near = next(requested, None) or nearest(run, recorded)
    return f"did you mean {near}?" if near else f"cascade history --state {state} lists them"


def _list_pauses(path: Path, duration: float) -> None:
    """List the pauses and lost links that a collector knows of the time until now."""
    now, output = time.time(), settings().output
    with CollectedFile(path) as file:
        bands = whole(file, lambda each: finish(bands_between(each, now - duration, now)))
        if file.problem:
            output.note(file.problem)
    rows = [
        {**band, "start": _time(band["start"]), "end": _time(band["end"])}
        for band in sorted(bands, key=lambda each: -each["start"])
    ]
    output.rows(rows, PAUSES, empty=f"no pause and no lost link in the last {show_duration(duration)}")


def _list_collected(path: Path, run_id: str | None) -> None:
    """List what a collector knows: all runs, or the steps of one."""
    output = settings().output
    with CollectedFile(path) as file:
        rows = whole(
            file,
            lambda each: latest_runs(each, MOST + 1) if run_id is None else runs_with_steps(each, run_id),
        )
        if file.problem:
            output.note(file.problem)
    if run_id is None:
        rows = _latest(rows)
        several = len({row["project_id"] for row in rows}) > 1
        project = [Column("project_id", "project")] if several else []
        columns = (RUNS[0], Column("source", "engine"), *project, *RUNS[1:])
        output.rows(rows, columns, empty="no runs are in the file")
        return
    if not rows:
        raise CommandError(f"no run {run_id!r} is in {path}", f"cascade history --from {path} lists them")
    show_runs(output, rows)


def _run_row(run: RunSummary) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "target": run.target,
        "status": run.status.value,
        "attempts": run.attempts,
        "created": _time(run.created),
        "ended": _time(run.ended),
        "took": None if run.ended is None else max(run.ended - run.created, 0.0),
        "counts": {state.name.lower(): count for state, count in sorted(run.counts.items())},
        "by": run.by,
        "error": Redactor.DEFAULT.one_line(run.error),
    }


def _step_row(step: StepSummary, values: Mapping[str, Any]) -> dict[str, Any]:
    row = {
        "key": step.key,
        "name": step.name,
        "state": step.state.name.lower(),
        "starts": step.starts,
        # a record counts those that were tried again
        "tries": step.tries + (step.state is StepState.FAILED),
        "began": _time(step.began or None),
        "ended": _time(step.ended),
        "took": None if step.ended is None or not step.began else max(step.ended - step.began, 0.0),
        "error": Redactor.DEFAULT.one_line(step.error),
        "size": step.size,
    }
    return {**row, "value": values[step.key]} if step.key in values else row


def _shown_value(value: Any) -> Any:
    return f"unreadable: {value}" if isinstance(value, CascadeError) else as_json(value)


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
