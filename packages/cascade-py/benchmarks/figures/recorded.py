"""CPU time of a recorded run beside the same run without a state, and of its resume.

All tasks do nothing, so this is the most that recording can cost. The time is that of all threads, in NORMAL.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cascade.runtime import Engine, SqliteState
from cascade.spec import LazyResult, task
from figures.measure import Settings, alternate, run
from figures.memory import peak_memory
from figures.table import Row, at_most, no_more_than

TITLE = "microseconds of processor time for a step that does nothing, recorded and not; a resume of recorded steps"

RECORDED_STEPS = 100_000


@task
async def noop(x: int) -> int:
    """Do nothing."""
    return x


def rows(settings: Settings) -> Iterator[Row]:
    """Measure a map and a list with and without a state in the same rounds, then a resume."""
    n, rounds = settings.size(2_000), settings.rounds_or(9)
    for name, target in (("map", _map), ("list", _list)):
        recorded, plain = run(alternate(rounds, partial(_recorded, target, n), partial(_plain, target, n)))
        yield Row(f"{name} of {n:,} recorded steps", "us", recorded, "not recorded", plain, at_most(6))
    many = settings.size(RECORDED_STEPS)
    before = peak_memory()
    (seconds,) = run(alternate(settings.rounds_or(1), partial(_resumed, many)))
    yield Row(f"resume of {many:,} recorded steps", "s", seconds, target=no_more_than(2))
    grown = (peak_memory() - before) / 1e6
    yield Row("peak memory of recording and resuming them", "MB", [grown], target=no_more_than(60))


def _map(n: int) -> LazyResult[Any]:
    return noop.map(x=range(n))


def _list(n: int) -> list[LazyResult[int]]:
    return [noop(number) for number in range(n)]


async def _plain(target: Callable[[int], Any], n: int) -> float:
    began = time.process_time()
    await Engine().run(target(n))
    return (time.process_time() - began) / n * 1e6


async def _recorded(target: Callable[[int], Any], n: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        await _run(Path(folder), target(n))
        return (time.process_time() - began) / n * 1e6


async def _resumed(n: int) -> float:
    """Record a map; return the seconds of the processor that the same run takes again."""
    with tempfile.TemporaryDirectory() as folder:
        await _run(Path(folder), _map(n))
        began = time.process_time()
        await _run(Path(folder), _map(n))
        return time.process_time() - began


async def _run(folder: Path, target: Any) -> None:
    state = SqliteState(folder / "runs", power_safe=False)
    await Engine(state_backend=state).run(target, run_id="figures")
