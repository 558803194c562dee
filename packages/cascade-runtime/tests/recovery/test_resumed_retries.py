"""A process that was killed between two attempts of a step: how long the next one waits, and which attempts are left."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from observers import watch_tasks

from cascade.interfaces import RecordedStatus, TaskState
from cascade.runtime import Engine, MemoryCache, ThreadExecutor
from cascade.spec import LazyResult, task
from cascade.testing import ManualClock
from cascade.testkit import eventually
from cascade.testkit.state import MemoryState, StoredRun

DELAY = 60.0
tries: list[str] = []
broken: set[str] = set()
may_end: list[asyncio.Event] = []


class Asked(ManualClock):
    """A clock that notes for how long it was asked to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Any:
        self.delays.append(seconds)
        return super().call_later(seconds, callback)


@pytest.fixture(autouse=True)
def _nothing_tried() -> None:
    tries.clear()
    broken.clear()
    may_end.clear()


@task
async def flaky() -> str:
    tries.append("flaky")
    if "flaky" in broken:
        raise ValueError("flaky")
    return "made"


@task
def offloaded(name: str) -> str:
    tries.append(name)
    if name in broken:
        raise ValueError(name)
    return name


class Night:
    """A run of a step that is tried three times, whose process was killed after the first."""

    def __init__(self) -> None:
        self.clock = Asked()
        self.stored: dict[str, StoredRun] = {}

    async def kill(self, target: LazyResult[Any], *, failed: int = 1) -> None:
        """Fail so many attempts, and end as a killed process does."""
        broken.update(("flaky", "late"))
        state = MemoryState(self.stored)
        engine = Engine(state_backend=state, clock=self.clock, cache_backend=MemoryCache())
        run = asyncio.create_task(engine.run(target, run_id="night"))
        for count in range(1, failed + 1):
            await eventually(lambda: self.clock.delays.count(DELAY) == count)  # noqa: B023
            if count < failed:
                self.clock.advance(DELAY)
        journal = self.stored["night"].journal
        assert journal is not None
        journal.commit()
        state.lose()
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run
        self.stored["night"].status = RecordedStatus.RUNNING
        self.clock.delays.clear()
        tries.clear()
        broken.clear()

    def resume(
        self, target: LazyResult[Any] | list[LazyResult[Any]], **settings: Any
    ) -> tuple["asyncio.Task[Any]", list[Any]]:
        """Return the run that goes on, and its events."""
        engine = Engine(
            state_backend=MemoryState(self.stored), clock=self.clock, cache_backend=MemoryCache(), **settings
        )
        events = watch_tasks(engine)
        return asyncio.create_task(engine.run(target, run_id="night")), events


@pytest.fixture
async def night() -> Night:
    return Night()


def attempts_of(events: list[Any]) -> list[int]:
    return [
        event.attempt for event in events if event.task_name == "flaky" and event.state is TaskState.COMPLETED
    ]


@pytest.mark.parametrize("cached", [False, True], ids=["plain", "cached"])
@pytest.mark.parametrize(
    ("passed", "delay", "left"),
    [(20.0, DELAY, 40.0), (0.5, DELAY, 59.5), (20.0, 10.0, 10.0), (-86_400.0, DELAY, DELAY)],
    ids=["what is left", "almost all", "no longer than it is today", "though the clock was set back a day"],
)
async def test_the_next_attempt_waits_for_what_is_left_of_the_delay(
    passed: float, delay: float, left: float, cached: bool, night: Night
) -> None:
    """And is counted as the next one."""
    step = flaky.with_cache() if cached else flaky
    await night.kill(step.with_retry(3, delay=DELAY)())
    night.clock.jump(passed)
    run, events = night.resume(step.with_retry(3, delay=delay)())
    await eventually(lambda: night.clock.delays)
    assert night.clock.delays == [pytest.approx(left)]
    assert tries == []
    night.clock.advance(left)
    assert await run == "made"
    assert tries == ["flaky"]
    assert attempts_of(events) == [2]


async def test_attempts_that_were_made_before_the_kill_are_not_made_again(night: Night) -> None:
    """Two have failed of three: the step fails with its next one."""
    target = flaky.with_retry(3, delay=DELAY)()
    await night.kill(target, failed=2)
    night.clock.jump(DELAY)
    broken.add("flaky")
    run, _ = night.resume(target)
    with pytest.raises(ValueError, match="flaky"):
        await run
    assert tries == ["flaky"]
    tries.clear()
    run, _ = night.resume(target)  # it has failed for good: the next run begins anew
    await eventually(lambda: night.clock.delays == [DELAY])
    assert tries == ["flaky"]
    broken.clear()
    night.clock.advance(DELAY)
    assert await run == "made"


async def test_a_step_that_waits_for_its_next_attempt_holds_no_worker(night: Night) -> None:
    """The only thread runs another one meanwhile."""
    target = offloaded.with_retry(3, delay=DELAY)("late")
    await night.kill(target)
    executor = ThreadExecutor(1)
    run, _ = night.resume([target, offloaded("early")], executor=executor)
    await eventually(lambda: tries == ["early"])
    night.clock.advance(DELAY)
    assert await run == ["late", "early"]
    assert tries == ["early", "late"]
