"""Changes of a view since they were last asked for: for ``watch --json`` and ``watch --plain``. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from cascade.cli._offers import offer_rows
from cascade.cli.columns import listed
from cascade.wire import View, constraint_rows, engine_rows, label, run_rows

MAX_SEEN = 20_000
REPORT_SECONDS = 2.0
"""In which an engine reports that it no longer obeys a constraint that was cleared."""
CONTESTED = "two processes use this name"


class Changes:
    """Remembers what was shown, and yields what is new: each row once for each change."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, ...], Mapping[str, Any]] = {}
        self._failures: dict[tuple[str, str, str, float | None], None] = {}
        # since when engines obey what the broker does not hold
        self._kept_since: dict[tuple[str, ...], float] = {}

    def since_last(
        self, view: View, now: float, gone: Collection[str] = ()
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the kind (``engine``, ``workflow``, ``run``, ``constraint`` or ``failure``) and the row of each change.

        :param gone: topics of registers that nobody was seen to clear: the broker no longer has them.
        """
        rows = [
            *(("engine", (row["source"],), row) for row in engine_rows(view, now)),
            *(("workflow", (row["source"], row["name"]), row) for row in _workflow_rows(view, now)),
            *(("constraint", (row["topic"],), row) for row in constraint_rows(view, now)),
            *(("run", (row["source"], row["run_id"]), row) for row in reversed(list(_run_rows(view, now)))),
        ]
        present = {(kind, *name) for kind, name, _ in rows}
        yield from self._vanished(present, gone)
        for kind, name, row in rows:
            key = (kind, *name)
            # an estimate changes all the time
            lasting = {name: _lasting(name, value) for name, value in row.items() if name != "left_s"}
            if self._shown.get(key) != lasting and not self._is_too_new(key, row, now):
                self._shown[key] = lasting
                yield kind, row
        yield from self._new_failures(view)
        for kept in (self._shown, self._failures):
            while len(kept) > MAX_SEEN:
                del kept[next(iter(kept))]  # type: ignore[arg-type] # both are dictionaries

    def _vanished(
        self, present: Collection[tuple[str, ...]], gone: Collection[str]
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the constraints, engines and workflows that are no longer there."""
        for key in [key for key in self._shown if key[0] != "run" and key not in present]:
            row = self._shown.pop(key)
            if key[0] == "engine":
                yield "engine", {**row, "status": "unknown", "gone": True}
            elif key[0] == "workflow":
                yield "workflow", {**row, "accepting": False, "gone": True}
            else:
                yield "constraint", {**row, "gone" if key[1] in gone else "cleared": True}
        for key in [key for key in self._kept_since if key not in present]:
            del self._kept_since[key]

    def _is_too_new(self, key: tuple[str, ...], row: Mapping[str, Any], now: float) -> bool:
        """Return whether engines may just not have reported yet that a constraint was cleared."""
        if "on_broker" not in row:
            self._kept_since.pop(key, None)
            return False
        return now - self._kept_since.setdefault(key, now) < REPORT_SECONDS

    def _new_failures(self, view: View) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for run in view.runs.values():
            for task in run.failures:
                key = (run.source, run.run_id, task.task_id, task.since)
                if key not in self._failures:
                    self._failures[key] = None
                    yield (
                        "failure",
                        {
                            "source": run.source,
                            "run_id": run.run_id,
                            "task_id": task.task_id,
                            "task_name": task.name,
                            "attempt": task.attempt,
                            "error": task.error,
                        },
                    )


def _lasting(name: str, value: Any) -> Any:
    """Return what counts as a change of a row: of gates that they open or close, and not each value."""
    if name == "held":
        return len(value)
    return [(gate["source"], gate["state"]) for gate in value] if name == "gates" else value


def _run_rows(view: View, now: float) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of runs; where the counts lack events that did not arrive, ``missing`` says how many."""
    for row in run_rows(view, now):
        run = view.runs[row["source"], row["run_id"]]
        yield {**row, "missing": run.missing} if run.partial else row


def _workflow_rows(view: View, now: float) -> Iterator[Mapping[str, Any]]:
    """Yield what is offered, without what only a form needs."""
    for row in offer_rows(view, now):
        yield {key: row[key] for key in ("source", "name", "accepting", "next", "last")}


def in_words(kind: str, row: Mapping[str, Any]) -> str:
    """Return a change as one line for a person."""
    if kind == "engine":
        return f"engine {row['source']}: {_engine_state(row)}"
    if kind == "workflow":
        return f"workflow {row['name']} on {row['source']}: {_workflow_state(row)}"
    if kind == "constraint":
        return f"constraint {row['type']} {row['scope']}: {_constraint_state(row)}"
    if kind == "failure":
        return f"failure {row['task_id']} of {row['run_id']}: {row['error']}"
    return f"run {row['run_id']} {row['target']} on {row['source']}: {_run_state(row)}"


def _engine_state(row: Mapping[str, Any]) -> str:
    if row.get("gone"):
        return "the broker no longer knows it"
    notes = [
        row["status"]
        if row["status"] != "unknown"
        else "unknown, neither its birth nor a new report has arrived",
        "paused" if row["paused"] else "",
        CONTESTED if row["contested"] else "",
        f"{row['runs']} run{'s' if row['runs'] > 1 else ''}" if row["runs"] else "",
    ]
    return ", ".join(note for note in notes if note)


def _workflow_state(row: Mapping[str, Any]) -> str:
    if row.get("gone"):
        return "no longer offered"
    last = f"last run {row['last']['status']}" if row["last"] else ""
    notes = ["offered" if row["accepting"] else "not accepting", last]
    return ", ".join(note for note in (*notes, f"next {row['next']}" if row["next"] else "") if note)


def _run_state(row: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{n} {label(word)}" for word, n in row["tasks"].items())
    known = f"{row['known']}{'+' if row['open'] else ''} known"
    if row["percent"] is not None:
        known = f"{known}, {row['percent']}%"
    if "missing" in row:
        known = f"of the events that arrived; {row['missing']} did not"
    by = f" by {row['by']}" if row["by"] else ""
    broke = f", ran when the link broke: {listed(row['interrupted'])}" if row["interrupted"] else ""
    held = f", held by {listed(row['held'])}" if row["held"] else ""
    error = f": {row['error']}" if row["error"] else ""
    return f"{row['status']}{by}, {counts or 'no tasks'}, {known}{held}{broke}{error}"


def _constraint_state(row: Mapping[str, Any]) -> str:
    if row.get("gone"):
        return "no longer on the broker"
    if row.get("cleared"):
        return "cleared"
    lost = "not on the broker, still " if "on_broker" in row else ""
    obeyed = f"{lost}obeyed by {', '.join(row['applied'])}" if row["applied"] else "on the broker"
    by = f" by {row['by']}" if row["by"] else ""
    gates = "".join(f"; {gate['source']}: {gate['text']} ({gate['state']})" for gate in row.get("gates", ()))
    return f"{obeyed}{by}{gates}"
