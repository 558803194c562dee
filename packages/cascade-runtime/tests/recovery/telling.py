"""Runs the workflow of ``night.py`` with an outbox, in a process that kills itself at a named moment. Tests start it.

With ``opaque`` it is a workflow with a result that cannot be recorded and has to be, until the file ``repaired`` is there.
It prints each event that the other side has taken, as a line of JSON; with the word ``down`` that side takes none, and
no event reaches the outbox's disk before the process dies.
"""

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from dying import die_at, keep_apart
from fake_link import FakeLink
from recovery import night

from cascade.interfaces import Delivery, TaskState, TaskStateEvent
from cascade.runtime import Engine, Outbox, SqliteState
from cascade.spec import LazyResult, task


class Printing(FakeLink):
    """Prints what it takes, whole lines at once."""

    def settle(self, count: int | None = None) -> None:
        some = [payload for payload, _ in self.held[:count]]
        assert self.verdict is Delivery.TAKEN
        for payload in some:
            os.write(1, f"{payload}\n".encode())
        super().settle(count)


def die_at_event(engine: Engine, times: int) -> None:
    """Kill this process when a step's end is reported for this time, before the outbox has it."""
    reported = 0

    def seen(event: TaskStateEvent) -> None:
        nonlocal reported
        reported += event.state is TaskState.COMPLETED
        if reported == times:
            os.kill(os.getpid(), signal.SIGKILL)

    engine.bus.subscribe(TaskStateEvent, seen)


@task
async def opaque() -> Any:
    return 7 if Path("repaired").exists() else threading.Lock()


def target(workflow: str) -> tuple[LazyResult[Any], int]:
    """Declare a workflow; return it with its value."""
    if workflow == "night":
        return night.target(), night.EXPECTED
    first = opaque()
    return night.total(first, *(night.number_of(night.fetch(number).after(first)) for number in range(5))), 17


async def main(folder: Path, workflow: str, moment: str, times: int, *, up: bool) -> None:
    """Run, or run the rest."""
    engine = Engine(
        state_backend=SqliteState(folder / "runs", power_safe=False, required_results=workflow == "opaque"),
        connector=Printing(up=up),
        outbox=Outbox(folder / "events", delay=60.0),
    )
    if moment == "reported":
        die_at_event(engine, times)
    else:
        die_at(moment, times)
    declared, value = target(workflow)
    assert await engine.run(declared, run_id="night") == value


if __name__ == "__main__":
    place, kind, at, count, link = sys.argv[1:]
    os.chdir(place)
    keep_apart(1 << 12)
    asyncio.run(main(Path(place), kind, at, int(count), up=link == "up"))
