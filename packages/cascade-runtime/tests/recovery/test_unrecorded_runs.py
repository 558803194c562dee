"""A run without a state pays nothing for recording: no call and no allocation, counted for each task."""

import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import cascade.runtime._recovery
from cascade.runtime import Engine, SqliteState
from cascade.spec import task

RUNTIME = Path(cascade.runtime._recovery.__file__).parents[1]
RECORDING = tuple(
    str(RUNTIME / name) for name in ("_recovery/", "_durable/", "_graph/recorded.py", "_storage/")
)
TASKS = 200


@task(mode="inline")
def double(x: int) -> int:
    return 2 * x


@task
async def total(values: list[int]) -> int:
    return sum(values)


@task
def numbers() -> list[int]:
    return [1, 2]


async def run(engine: Engine) -> None:
    """Run maps over values and over what a task returns, and calls of each kind."""
    assert await engine.run(total(double.map(x=range(TASKS)))) == TASKS * (TASKS - 1)
    assert await engine.run(total(double.map(x=numbers()))) == 6
    assert await engine.run(total([double(1), double.unrecorded()(double.at_most_once()(2))])) == 10


async def calls(engine: Engine) -> Counter[str]:
    """Count the calls of a run on this thread, by file."""
    made: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            made[frame.f_code.co_filename] += 1

    sys.setprofile(count)
    try:
        await run(engine)
    finally:
        sys.setprofile(None)
    return made


async def allocations(engine: Engine) -> int:
    """Count the blocks that code of the recording has allocated in a run, with all that it called, and that are left."""
    tracemalloc.start(20)
    try:
        await run(engine)
        found = tracemalloc.take_snapshot().traces
    finally:
        tracemalloc.stop()
    return sum(any(frame.filename.startswith(RECORDING) for frame in trace.traceback) for trace in found)


def of_recording(made: Counter[str]) -> int:
    return sum(times for file, times in made.items() if file.startswith(RECORDING))


@pytest.mark.full
@pytest.mark.process
@pytest.mark.parametrize("earlier", [False, True], ids=["alone", "after a recorded run"])
async def test_a_run_without_a_state_calls_no_code_of_the_recording(earlier: bool, tmp_path: Path) -> None:
    """Not once for any task, also where an earlier run of the process was recorded; a recorded run calls it for each."""
    recorded = Engine(state_backend=SqliteState(tmp_path / "runs", power_safe=False))
    if earlier:
        await run(recorded)
    engine = Engine()
    assert of_recording(await calls(engine)) == 0
    assert await allocations(engine) == 0
    assert of_recording(await calls(recorded)) > TASKS
    assert await allocations(recorded) > 0
