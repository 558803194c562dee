"""The end of a run that a watcher waits for. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from cascade.cli.errors import CANCELLED, FAILED, OK
from cascade.wire import RunView, View, run_rows

MIN_PREFIX = 4
"""Characters of a run's id that stand for it, where no other run's id begins with them."""
SURE_SECONDS = 15.0
"""After which a lost engine counts as dead: a link that was cut comes back sooner."""
_CODES = {"Succeeded": OK, "Failed": FAILED, "Cancelled": CANCELLED}


@dataclass(frozen=True, slots=True)
class End:
    """The end of a run."""

    code: int
    text: str


class Until:
    """Waits for the end of one run, named by its id, the beginning of it, or its name."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._doubtful_since: float | None = None

    def end(self, view: View, now: float) -> End | None:
        """Return how the run has ended; None while it has not, or is not known."""
        found = self._find(view)
        if found is None:
            return None
        rows = {(row["source"], row["run_id"]): row for row in run_rows(view, now)}
        status = rows[found.source, found.run_id]["status"]
        if status in _CODES:
            error = f": {found.error}" if found.error else ""
            return End(_CODES[status], f"run {found.run_id} {status.lower()}{error}")
        if status == "Running":
            self._doubtful_since = None
            return None
        return self._doubtful(found, status, now)

    def _doubtful(self, run: RunView, status: str, now: float) -> End | None:
        if self._doubtful_since is None:
            self._doubtful_since = now
        if now - self._doubtful_since < SURE_SECONDS:
            return None
        why = "its engine is lost" if status == "Lost" else "how it has ended is not known"
        return End(FAILED, f"run {run.run_id} is no longer running: {why}")

    def _find(self, view: View) -> RunView | None:
        """Return the run; of several with one name, the latest."""
        runs = list(view.runs.values())
        exact = [run for run in runs if self._run in (run.run_id, run.name)]
        near = [run for run in runs if len(self._run) >= MIN_PREFIX and run.run_id.startswith(self._run)]
        if exact:
            return max(exact, key=lambda run: run.started or 0.0)
        return near[0] if len({run.run_id for run in near}) == 1 else None
