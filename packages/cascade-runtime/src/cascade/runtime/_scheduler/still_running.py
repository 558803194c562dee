"""The tasks and calls that a run leaves behind at its end, because they did not stop in time."""

from __future__ import annotations

import asyncio
from typing import Any

from cascade.interfaces.logs import get_logger
from cascade.runtime._support.tasks import abandoned

_log = get_logger("cascade.engine")


class StillRunning:
    """The asyncio tasks and calls of one run that did not stop within their limits."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []
        self.resources: list[asyncio.Task[Any]] = []
        self.calls = 0
        """Calls in threads or processes, which cannot be stopped."""

    def report(self, run_id: str) -> None:
        """Log in one line what still runs, if anything does."""
        stuck = [task for task in (*self.tasks, *self.resources) if not task.done()]
        abandoned.update(stuck)
        parts = [
            f"{kind} ({', '.join(sorted(task.get_name() for task in tasks if not task.done()))})"
            for kind, tasks in (("tasks", self.tasks), ("resources", self.resources))
            if not all(task.done() for task in tasks)
        ]
        if parts:
            parts[-1] += " that suppress asyncio.CancelledError"
        if self.calls:
            parts.append(f"{self.calls} calls that cannot be stopped")
        if parts:
            _log.warning("run %s ended, but these run on: %s", run_id, "; ".join(parts))
