"""What a person sees while it runs: a bar, and above it the lines of the second process."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import cascade as cs
from cascade.interfaces import LifecycleEvent, TaskState, TaskStateEvent

from .text import shown
from .workflow import audit


class Live:
    """Follows a run on the event bus; counts its events and moves the bar.

    Everything goes through one console, which keeps the bar below all lines.
    """

    def __init__(self, console: Console, *, files: int, label: str = "watcher") -> None:
        self.files = files
        self.produced = 0
        self.audited = 0
        self.run_id = ""
        self.seconds = 0.0
        self._began = 0.0
        self._console = console
        self._label = label
        self._progress = Progress(
            TextColumn("Auditing"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("files"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("audit", total=files)

    def follow(self, bus: cs.EventBus) -> None:
        """Listen to a bus."""
        bus.subscribe(LifecycleEvent, self._on_lifecycle)
        bus.subscribe(TaskStateEvent, self._on_task)

    def print_line(self, line: str) -> None:
        """Print a line of the second process; from any thread.

        A command (``$ ...``) is brighter than the rest, and whole, so that it can be copied.
        """
        is_command = line.startswith("$ ")
        text = shown(f"{self._label} | {line}", style="" if is_command else "dim")
        self._console.print(text, soft_wrap=is_command or not self._console.is_terminal)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self.seconds = time.monotonic() - self._began

    def _on_lifecycle(self, event: LifecycleEvent) -> None:
        self.produced += 1
        self.run_id = event.run_id

    def _on_task(self, event: TaskStateEvent) -> None:
        self.produced += 1
        if event.task_name == audit.name and event.state is TaskState.COMPLETED:
            self.audited += 1
            self._progress.update(self._bar, completed=self.audited)
