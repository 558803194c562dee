"""What an engine says of its constraints and runs, and how often. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from cascade.interfaces import TaskState, TaskStateEvent
from cascade.interfaces.wire import VERSION, timestamp
from cascade.runtime.constraints._ledger import Register
from cascade.runtime.constraints.parse import Unsupported
from cascade.runtime.constraints.registers import Effective, Key, Registers

MAX_ENTRIES = 500
"""Registers that one report lists, and constraints that it lists as effective."""
REPEAT = 10.0
"""Seconds after which a report comes again while a run is on."""

_ENDED = {TaskState.COMPLETED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED}


class Cadence:
    """When the next report may go out: soon after a change, then not too often."""

    def __init__(self, *, soon: float, interval: float) -> None:
        self.repeating = False
        """Whether it comes again without a change."""
        self._soon = soon
        self._interval = interval
        self._sent: float | None = None
        self._changed: float | None = None

    def touch(self, now: float) -> bool:
        """Take note of a change; return whether it is the first since the last report."""
        first = self._changed is None
        if first:
            self._changed = now
        return first

    def due(self) -> float | None:
        """Return when to report, or None."""
        sent = self._sent
        if self._changed is not None:
            soon = self._changed + self._soon
            return soon if sent is None else max(soon, sent + self._interval)
        return sent + REPEAT if self.repeating and sent is not None else None

    def sent(self, now: float) -> None:
        """Take note that a report goes out."""
        self._sent, self._changed = now, None


class RunBook:
    """Counts of tasks by their present state, for each run that is on."""

    def __init__(self) -> None:
        self.revision = 0
        self._runs: dict[str, _Run] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def begin(self, run_id: str, target: str, started: float) -> None:
        """Open a page for a run; ``started`` is in seconds since the epoch."""
        self._runs[run_id] = _Run(target, started)
        self.revision += 1

    def end(self, run_id: str) -> None:
        """Close it."""
        if self._runs.pop(run_id, None) is not None:
            self.revision += 1

    def note(self, event: TaskStateEvent) -> None:
        """Move one task to its new state."""
        run = self._runs.get(event.run_id)
        if run is not None:
            run.move(event.task_id, event.state)
            self.revision += 1

    def rows(self) -> list[dict[str, Any]]:
        """Return what is known of each run."""
        return [
            {"run_id": run_id, "target": run.target, "started": timestamp(run.started), "counts": run.tasks()}
            for run_id, run in self._runs.items()
        ]


class _Run:
    __slots__ = ("counts", "open", "started", "target")

    def __init__(self, target: str, started: float) -> None:
        self.target = target
        self.started = started
        self.counts = dict.fromkeys(TaskState, 0)
        self.open: dict[str, TaskState] = {}
        """States of tasks that have begun, or wait, and have not ended."""

    def move(self, task_id: str, state: TaskState) -> None:
        before = self.open.pop(task_id, None)
        if before is not None:
            self.counts[before] -= 1
        self.counts[state] += 1
        if state not in _ENDED:
            self.open[task_id] = state

    def tasks(self) -> dict[str, int]:
        return {state.value: count for state, count in self.counts.items() if count}


def constraints_report(
    registers: Registers, *, source: str, session: str, sync: str, in_scope_running: int, now: float
) -> dict[str, Any]:
    """Return the body of ``cascade/state/{source}/constraints``."""
    report: dict[str, Any] = {
        "v": VERSION,
        "source": source,
        "session": session,
        "sync": sync,
        "applied": dict(islice(_entries(registers), MAX_ENTRIES)),
        "effective": [_row(key, each) for key, each in registers.effective(MAX_ENTRIES).items()],
        "in_scope_running": in_scope_running,
        "ts": timestamp(now),
    }
    if (more := registers.to_report - len(report["applied"])) > 0:
        report["more"] = more
    if registers.over_limit:
        report["over_limit"] = registers.over_limit
    return report


def runs_report(book: RunBook, *, source: str, session: str, now: float) -> dict[str, Any]:
    """Return the body of ``cascade/state/{source}/runs``."""
    return {
        "v": VERSION,
        "source": source,
        "session": session,
        "runs": book.rows()[:MAX_ENTRIES],
        "ts": timestamp(now),
    }


def _entries(registers: Registers) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the latest rejections first, then what is not in force, then what is."""
    for topic, reason in reversed(registers.rejections.items()):
        kept = registers.get(topic)
        yield topic, {"id": kept.content.id if kept else "", "status": "rejected", "reason": reason}
    for topic, register in registers.reported():
        yield topic, _entry(register)


def _entry(register: Register) -> dict[str, str]:
    entry = {"id": register.content.id, "status": register.status.value}
    if isinstance(register.content, Unsupported):
        entry["reason"] = register.content.reason
    return entry


def _row(key: Key, effective: Effective) -> dict[str, Any]:
    return {"scope": key[0], "type": key[1], "params": effective.rule.params()}
