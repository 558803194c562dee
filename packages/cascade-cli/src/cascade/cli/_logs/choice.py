"""Which lines of logs a person asked for. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cascade.wire import EventMessage, LogBody, View

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
MIN_PREFIX = 4
"""Characters of a run's id that stand for it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which lines are shown.

    :param least: the lowest level.
    :param task: a pattern of task names, as in ``task:PATTERN``, or one task id.
    """

    least: str = "DEBUG"
    task: str = ""

    def has(self, body: LogBody) -> bool:
        """Return whether a line is one of them."""
        is_of_task = not self.task or fnmatchcase(body.task_name, self.task) or body.task_id == self.task
        return is_of_task and rank(body.level) >= LEVELS[self.least]


def rank(level: str) -> int:
    """Return the number of a level; that of one with another name is not known, so it is shown."""
    numbered = re.fullmatch(r"Level (\d{1,6})", level, re.ASCII)
    return int(numbered[1]) if numbered is not None else LEVELS.get(level, max(LEVELS.values()))


def is_of(event: EventMessage, name: str, view: View) -> bool:
    """Return whether a line is of the run or the engine with this name, as far as the view knows names of runs."""
    if not name or name in (event.source, event.run_id):
        return True
    run = view.runs.get((event.source, event.run_id))
    is_named = run is not None and run.name == name
    return is_named or (len(name) >= MIN_PREFIX and event.run_id.startswith(name))
