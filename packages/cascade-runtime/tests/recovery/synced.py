"""Runs the workflow of ``night.py`` from the start, or what a copy of its folder has left. Tests start it.

With one argument, the folder, it runs the workflow with a disk that is safe against power cuts, and prints
``done KEY`` when the end of a step is reported. Without one it forks a process for each folder that it reads.
"""

import asyncio
import os
import sys
from pathlib import Path

from dying import keep_apart, say
from recovery import night

from cascade.interfaces import TaskState, TaskStateEvent
from cascade.runtime import Engine, SqliteState

START = 3
"""Of the loop: few turns, so that there are few copies."""


def say_done(event: TaskStateEvent) -> None:
    """Print that the value of a step has left the engine."""
    if event.state is TaskState.COMPLETED:
        say(f"done {event.task_id}")


async def main(folder: str) -> None:
    """Run the workflow."""
    engine = Engine(state_backend=SqliteState(folder))
    engine.bus.subscribe(TaskStateEvent, say_done)
    assert await engine.run(night.target(START), run_id="night") == night.expected(START)


if __name__ == "__main__":
    keep_apart(1 << 12)
    if sys.argv[1:]:
        os.chdir(Path(sys.argv[1]).parent)
        asyncio.run(main(sys.argv[1]))
    else:
        for place in map(str.strip, sys.stdin):
            os.chdir(Path(place).parent)
            say(f"exit {night.proceed(place, 'never', 1, 0.0, START)}")
