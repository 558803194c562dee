"""Log what becomes of runs and their tasks on the logger ``cascade.run``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from cascade.interfaces import EventBus, Lifecycle, LifecycleEvent, Redactor, TaskState, TaskStateEvent
from cascade.interfaces.logs import get_logger
from cascade.runtime._observers.run_counts import RunCounts, duration
from cascade.runtime._support.text import printable
from cascade.runtime._support.use_counts import Shared

MOST_REASONS = 1_000
"""Reasons of one run that are remembered, to log each at INFO once."""

_log = get_logger("cascade.run")
_REPEATED = {TaskState.SKIPPED, TaskState.BLOCKED, TaskState.CANCELLED}
_shared: Shared[RunLog] = Shared()


@contextmanager
def logged(bus: EventBus, redactor: Redactor) -> Iterator[None]:
    """Log the runs of a bus meanwhile."""
    _shared.join(bus, make=lambda: RunLog(bus, redactor))
    try:
        yield
    finally:
        if (log := _shared.leave(bus)) is not None:
            log.close()


class RunLog:
    """Logs starts, ends, failures and retries at INFO; skips, blocks and cancels for the first task of each reason.

    All other changes of state are logged at DEBUG.
    """

    def __init__(self, bus: EventBus, redactor: Redactor) -> None:
        self._redactor = redactor
        self._counts: dict[tuple[str, str], RunCounts] = {}
        self._reasons: dict[tuple[str, str], set[tuple[str, str]]] = {}
        self._unsubscribe = [
            bus.subscribe(LifecycleEvent, self._lifecycle), bus.subscribe(TaskStateEvent, self._task)
        ]  # fmt: skip

    def close(self) -> None:
        """Log nothing more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def _lifecycle(self, event: LifecycleEvent) -> None:
        run = event.run_id, event.token
        if event.event is Lifecycle.ENGINE_STARTED:
            self._counts[run], self._reasons[run] = RunCounts(event.timestamp), set()
            name = f" ({printable(event.name)})" if event.name else ""
            _log.info("run %s%s started", printable(event.run_id), name)
        elif (counts := self._counts.pop(run, None)) is not None:
            del self._reasons[run]
            error = f": {self._redactor.one_line(event.error)}" if event.error else ""
            _log.info("run %s %s%s", printable(event.run_id), counts.summary(event), error)

    def _task(self, event: TaskStateEvent) -> None:
        counts = self._counts.get((event.run_id, event.token))
        if counts is None:  # it began before this log
            return
        counts.count(event)
        level = self._level(event)
        if _log.isEnabledFor(level):
            task, run = printable(event.task_id), printable(event.run_id)
            _log.log(level, "%s of run %s %s", task, run, self._change(event))

    def _level(self, event: TaskStateEvent) -> int:
        if event.state in (TaskState.FAILED, TaskState.RETRYING):
            return logging.INFO
        seen = self._reasons[event.run_id, event.token]
        reason = event.task_name, event.reason
        if event.state in _REPEATED and reason not in seen and len(seen) < MOST_REASONS:
            seen.add(reason)
            return logging.INFO
        return logging.DEBUG

    def _change(self, event: TaskStateEvent) -> str:
        clean = self._redactor.one_line
        after = f" after {duration(event.duration_ms / 1000)}"
        reason = f": {clean(event.reason)}" if event.reason else ""
        error = f": {clean(event.error)}" if event.error else ""
        match event.state:
            case TaskState.RUNNING:
                return "is running"
            case TaskState.BLOCKED:
                return f"is blocked{reason}"
            case TaskState.SKIPPED:
                return f"is skipped{reason}"
            case TaskState.RETRYING:
                return f"is tried again{reason}{error}"
            case _:
                return f"{event.state.value.lower()}{after}{reason}{error}"
