"""Rates that tasks declare with ``with_rate``: the same buckets as a register's, with the same reports."""

import asyncio
from functools import partial
from typing import Any

import pytest
from desk import Desk
from observers import watch_tasks

from cascade.interfaces import ConfigurationError, TaskState, TaskStateEvent
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import task
from cascade.testing import ManualClock
from cascade.testkit import eventually


@task
async def fetch(x: int) -> int:
    return x


async def begun(events: list[TaskStateEvent], number: int) -> None:
    """Wait until exactly so many attempts have begun, and the others are reported as blocked."""
    await eventually(lambda: sum(e.state is TaskState.RUNNING for e in events) == number)


async def test_attempts_start_at_the_declared_rate_in_all_runs_of_an_engine() -> None:
    """The first ones at once, up to the burst, then one for each token; what another declaration names has its own."""
    clock = ManualClock()
    engine = Engine(clock=clock)
    events = watch_tasks(engine)
    slow = fetch.with_rate("6/m", burst=2)
    runs = [asyncio.create_task(engine.run(slow.map(x=range(3)), run_id=f"r{n}")) for n in range(2)]
    for number in range(2, 6):
        await begun(events, number)
        assert await engine.run(fetch(7)) == 7, "a call without a rate waits for nothing"
        events[:] = [event for event in events if event.run_id.startswith("r")]
        clock.advance(10)
    await begun(events, 6)
    assert await asyncio.gather(*runs) == [[0, 1, 2]] * 2
    reasons = {event.reason for event in events if event.state is TaskState.BLOCKED}
    assert reasons == {"fetch may start at most 6/m, as its code says"}


async def test_each_attempt_takes_a_token() -> None:
    """A retry is a request more to whom the rate protects."""
    clock, left = ManualClock(), [2]

    @task
    async def flaky() -> str:
        if left.pop():
            raise OSError("busy")
        return "done"

    left[:] = [0, 1, 1]
    engine = Engine(clock=clock)
    events = watch_tasks(engine)
    run = asyncio.create_task(engine.run(flaky().with_rate(1).with_retry(3)))
    for failed in (1, 2):
        await eventually(partial(_counted, events, TaskState.RETRYING, failed))
        await eventually(partial(_counted, events, TaskState.BLOCKED, failed))
        clock.advance(1)
    assert await run == "done"


def _counted(events: list[TaskStateEvent], state: TaskState, number: int) -> bool:
    return sum(event.state is state for event in events) == number


@pytest.mark.parametrize(("register", "seconds"), [("2/s", 1.0), ("1/m", 60.0)])
async def test_a_register_can_only_lower_a_declared_rate(
    desk: Desk, hub: LocalHub, register: str, seconds: float
) -> None:
    """The stricter one decides, whichever it is."""
    clock = ManualClock()
    engine = Engine(connector=LocalConnector(hub, source_id="line-3"), clock=clock)
    events = watch_tasks(engine)
    await desk.put("task:fetch", "rate_limit", rate=register, capacity=1)
    run = asyncio.create_task(engine.run(fetch.with_rate("1/s").map(x=range(3))))
    for number in (1, 2, 3):
        await begun(events, number)
        clock.advance(seconds - 0.01)
        for _ in range(20):
            await asyncio.sleep(0)
        assert sum(event.state is TaskState.RUNNING for event in events) == number
        clock.advance(0.01)
    assert await run == [0, 1, 2]


async def test_watchers_read_that_a_task_waits_for_its_rate(hub: LocalHub) -> None:
    """In the run's row, with the task and its rate."""
    waiting: list[tuple[str, str, int]] = []

    async def note(topic: str, message: dict[str, Any]) -> None:
        rows = (row for run in message["runs"] for row in run.get("waiting", []))
        waiting.extend((row["why"], row.get("name", ""), row["n"]) for row in rows)

    async with LocalConnector(hub) as watcher:
        await watcher.subscribe("cascade/state/line-3/runs", note)
        engine = Engine(connector=LocalConnector(hub, source_id="line-3"))
        run = asyncio.create_task(engine.run(fetch.with_rate("1/h").map(x=range(3))))
        await eventually(lambda: ("rate", "fetch: 1/h", 2) in waiting)
        run.cancel()


@pytest.mark.parametrize(
    ("rate", "burst", "problem"),
    [
        ("20/y", 1, r"20/y"),
        (0, 1, "must be above 0"),
        (True, 1, "needs a number per second or a text"),
        (None, 1, "needs a number per second or a text"),
        (1, 0.5, "burst"),
    ],
)
def test_a_rate_that_makes_no_sense_is_refused(rate: Any, burst: float, problem: str) -> None:
    """When it is declared, in words that say what to write."""
    with pytest.raises(ConfigurationError, match=problem):
        fetch.with_rate(rate, burst=burst)
