"""One run of the past as ``cascade history`` prints it, wherever it is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cascade.cli._commands._listed import show_ago
from cascade.cli.columns import Column, shown
from cascade.cli.durations import show_duration
from cascade.cli.output import Output
from cascade.wire import label

SLOWEST = 5
"""Steps of the table of the slowest; a run with no more steps than that has none."""


def show_counts(counts: Mapping[str, Any]) -> str:
    """Return numbers of steps by state as a person reads them."""
    return " ".join(f"{count} {label(state).replace('_', ' ')}" for state, count in counts.items())


def show_took(seconds: Any) -> str:
    """Return how long something took, below a minute in tenths of a second; empty if that is not known."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 60 else show_duration(seconds)


_STEP = Column("key", "step")
_TOOK = Column("took", show=show_took, right=True)
STEPS = (
    _STEP,
    Column("state", show=lambda value: value.replace("_", " ")),
    Column("starts", show=lambda value: str(value) if value > 1 else "", right=True),
    Column("tries", "failed tries", lambda value: str(value) if value else "", right=True),
    Column("began", show=show_ago),
    _TOOK,
    Column("error"),
    Column("reason"),
)
VALUES = (Column("size", right=True), Column("value", show=lambda value: shown(value)[:80]))


def show_runs(output: Output, runs: Sequence[Mapping[str, Any]], *, values: bool = False) -> None:
    """Print a run: as JSON, as the lines of its steps for a program, or as a page for a person.

    :param runs: its row with its ``steps``; several if engines have used one run id, each with its ``source``.
    """
    if output.json:
        output.document(runs[0] if len(runs) == 1 else [*runs])
        return
    engine = [Column("source", "engine")] if len(runs) > 1 and not output.terminal else []
    columns = (*engine, *STEPS, *(VALUES if values else ()))
    for number, run in enumerate(runs):
        if output.terminal and number:
            output.line()
        if output.terminal:
            _show_page(output, run)
        rows = [{"source": run.get("source"), **step} for step in run["steps"]]
        output.rows(rows, columns, empty="no steps are recorded")


def _show_page(output: Output, run: Mapping[str, Any]) -> None:
    for text in header(run):
        output.line(text)
    steps: Sequence[Mapping[str, Any]] = run["steps"]
    failed = [step for step in steps if step["state"] in ("failed", "in_doubt")]
    timed = sorted((step for step in steps if step["took"]), key=lambda step: -step["took"])
    parts: list[tuple[str, Sequence[Mapping[str, Any]], Sequence[Column]]] = [
        ("Failed", failed, (_STEP, Column("tries", "failed tries", right=True), _TOOK, Column("error"))),
        ("Slowest", timed[:SLOWEST] if len(steps) > SLOWEST else [], (_STEP, _TOOK)),
    ]
    for title, rows, columns in parts:
        if rows:
            output.line()
            output.line(title)
            output.rows(rows, columns)
    output.line()
    output.line("Steps")


def header(run: Mapping[str, Any]) -> list[str]:
    """Return what a person reads first: which run, how it ended, when, why, and what became of its steps."""
    on = f" on {run['source']}" if run.get("source") else ""
    took = f" after {show_took(run['took'])}" if run["took"] is not None else ""
    attempts = f", in attempt {run['attempts']}" if run["attempts"] > 1 else ""
    began = local_time(run["created"])
    by = f", by {run['by']}" if run.get("by") else ""
    heard = local_time(run.get("latest"))
    lines = [
        f"{run['run_id']}  {run['target']}{on}",
        f"{run['status']}{took}{attempts}{by}{f', began {began}' if began else ''}{f', last heard of {heard}' if heard else ''}",
        run["error"],
        show_counts(run["counts"]),
    ]
    return [line for line in lines if line]


def local_time(text: str | None) -> str:
    """Return a time in ISO 8601 as a person here reads it; empty if there is none."""
    try:
        return f"{datetime.fromisoformat(text or '').astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return ""
