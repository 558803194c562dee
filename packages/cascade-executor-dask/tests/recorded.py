"""A recorded workflow of three steps on a cluster, whose engine may kill itself. Tests start it.

Arguments: the cluster's address, a folder, and whether to die once a value is committed, before the engine hears of it.
Each step writes what it knows of itself, a line of JSON, into a file of the folder with the step's name.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from cascade.executors.dask import DaskExecutor
from cascade.interfaces import StepState
from cascade.runtime import Engine, SqliteState, step
from cascade.runtime._durable import crash_points
from cascade.spec import task


def write(folder: str) -> None:
    """Write which step this is, in one piece."""
    info = step()
    line = json.dumps({**info._asdict(), "idempotency_key": info.idempotency_key}) + "\n"
    with (Path(folder) / info.key.partition(":")[0]).open("a") as file:
        file.write(line)


@task(mode="dask")
def first(folder: str) -> int:
    """Return at once."""
    write(folder)
    return 20


@task(mode="dask")
def flight(folder: str, value: int) -> int:
    """Take until there is a file ``go``."""
    write(folder)
    while not (Path(folder) / "go").exists():
        time.sleep(0.01)
    return value + 1


@task(mode="dask")
def last(folder: str, value: int) -> int:
    """Return at once."""
    write(folder)
    return 2 * value


def die_after_a_value(state: SqliteState) -> None:
    """Kill this process after the commit of a step's value, before its caller gets it."""

    def hook(point: str) -> None:
        if point == "committed-unheard" and any(state.steps("night", state=StepState.COMPLETED)):
            os.kill(os.getpid(), signal.SIGKILL)

    crash_points.hook = hook


async def main(address: str, folder: str, dies: bool) -> None:
    """Run, or run the rest."""
    state = SqliteState(Path(folder) / "runs")
    if dies:
        die_after_a_value(state)
    engine = Engine(state_backend=state, executors={"dask": DaskExecutor(address)})
    print(await engine.run(last(folder, flight(folder, first(folder))), run_id="night"), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3] == "dies"))
