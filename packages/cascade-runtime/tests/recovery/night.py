"""A workflow of fan-out, lazy map, route and loop whose process kills itself at a named moment. Tests start it.

For each line of its input, ``MOMENT TIMES SECONDS VERSION``, it forks a process that runs the workflow, or the rest of it,
and dies at a moment or after some seconds, with a schema of this version; so only the first one pays for the imports. The process prints
``ran KEY`` when a step's function is called, and ``value`` at the end; then ``exit STATUS`` follows.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from dying import die_at, keep_apart, reach, say, write_version

from cascade.interfaces import StepInfo, TaskState, TaskStateEvent
from cascade.runtime import Engine, SqliteState
from cascade.spec import LazyResult, Router, task


@task
async def fetch(number: int) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"number": number, "text": "é" * (1 << 13 if number % 2 else number)}


@task(mode="inline")
def number_of(found: dict[str, Any]) -> int:
    number: int = found["number"]
    return number


@task
def numbers(count: int) -> tuple[int, ...]:
    return tuple(range(count))


@task(mode="inline")
def add(*values: int) -> int:
    return sum(values)


@task
async def collatz(number: int, steps: int = 0) -> Any:
    if number == 1:
        return steps
    return collatz(number // 2 if number % 2 == 0 else 3 * number + 1, add(steps, 1))


@task
async def parity(number: int) -> str:
    return "odd" if number % 2 else "even"


@task
async def flaky(number: int) -> int:
    mark = Path(f"flaky-{number}")
    if not mark.exists():
        mark.touch()
        raise OSError("not yet")
    return number


@task
async def total(*groups: Any) -> int:
    return sum(sum(group) if isinstance(group, list) else group for group in groups)


def target(start: int = 27) -> LazyResult[int]:
    """Declare the workflow; its loop begins at a number, and its value is that of :func:`expected`."""
    fetched = [fetch(number) for number in range(12)]
    lazily = number_of.map(found=fetch.map(number=numbers(10)))
    tries = flaky.with_retry(3).map(number=[1, 2])
    later = number_of.map(found=[fetch(number).after(tries) for number in (13, 17, 23)])
    route = Router(parity(3).after(later), {"odd": add(collatz(start), 1), "even": add(0)})
    return total(number_of.map(found=fetched), lazily, route, tries, later)


def expected(start: int = 27) -> int:
    """Compute the value of the workflow."""
    steps = 0
    while start != 1:
        start, steps = start // 2 if start % 2 == 0 else 3 * start + 1, steps + 1
    return sum(range(12)) + sum(range(10)) + steps + 1 + 3 + 13 + 17 + 23


EXPECTED = expected()


async def around(step: StepInfo, call_next: Callable[[], Awaitable[Any]]) -> Any:
    """Print which step runs."""
    say(f"ran {step.key} {step.idempotency_key}")
    reach("called")
    value = await call_next()
    reach("effect-done")
    return value


def heard(event: TaskStateEvent) -> None:
    """Reach the moment at which the engine has heard of a commit."""
    if event.state is TaskState.COMPLETED:
        reach("heard")


async def main(folder: str, start: int) -> None:
    """Run, or run the rest."""
    state = SqliteState(folder, power_safe=False, keep=None, keep_runs=1)
    engine = Engine(state_backend=state, middleware=[around])
    engine.bus.subscribe(TaskStateEvent, heard)
    value = await engine.run(target(start), run_id="night")
    say(f"value {value}")


def proceed(folder: str, moment: str, times: int, seconds: float, start: int = 27, version: int = 1) -> int:
    """Run the workflow in a process of its own; return its status, negative for a signal."""
    child = os.fork()
    if not child:
        die_at(moment, times)
        write_version(version)
        asyncio.run(main(folder, start))
        os._exit(0)
    if seconds:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    place = sys.argv[1]
    os.chdir(Path(place).parent)
    keep_apart(1 << 12)
    for line in sys.stdin:
        at, count, after, schema_version = line.split()
        say(f"exit {proceed(place, at, int(count), float(after), version=int(schema_version))}")
