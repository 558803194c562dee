"""The runs in a collector's file as ``cascade history`` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade.cli.collected.file import CollectedFile
from cascade.cli.collected.fold import between
from cascade.cli.collected.listing import LOST, RunFilter, RunKey, run_row, runs_page
from cascade.cli.collected.past import folded_run
from cascade.cli.collected.reading import finish

_KEYS = "SELECT run_id, source, org_id, project_id FROM summary WHERE run_id = ? ORDER BY source, org_id, project_id"


def latest_runs(file: CollectedFile, most: int) -> list[dict[str, Any]]:
    """Return so many runs, the latest first."""
    return [_row(run) for run in finish(runs_page(file, RunFilter(), most=most)).rows]


def runs_with_steps(file: CollectedFile, run_id: str) -> list[dict[str, Any]]:
    """Return the runs with one id, with their steps: several boxes may have used it."""
    found = []
    for names in file.rows(_KEYS, (run_id,)):
        key = RunKey(*names)
        if (run := run_row(file, key)) is not None:
            found.append({**_row(run), "steps": finish(folded_run(file, key)).steps})
    return found


def _row(run: Mapping[str, Any]) -> dict[str, Any]:
    counts = {state.lower(): count for state, count in sorted(run["counts"].items())}
    if recorded := run.get("recorded"):
        counts |= {"skipped": counts.get("skipped", 0) - recorded, "recorded": recorded}
        counts = {state: count for state, count in counts.items() if count}
    return {
        "run_id": run["run_id"],
        "source": run["source"],
        "project_id": run["project_id"],
        "target": run["name"] or run["target"],
        "status": run["status"],
        "attempts": run["attempt"],
        "created": run["started"],
        "ended": run["ended"],
        "took": between(run["started"], run["ended"]),
        "counts": counts,
        "by": run.get("by") or "",
        "error": run["error"],
        **({"latest": run["latest"]} if run["status"] == LOST else {}),
    }
