"""Timers: each fires once, at the earliest moment for which it was set."""

import asyncio
import contextvars
import math
import time
from types import SimpleNamespace
from typing import Any

from fakes import FakeClock

from cascade.runtime._support.clock import EarliestTimer, SystemClock
from cascade.testkit import time_limit


class TimerClock(FakeClock):
    """A clock that keeps the timers that are set on it: their delays, and what they call."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[tuple[float, Any]] = []

    def call_later(self, seconds: float, callback: Any) -> Any:
        timer = seconds, callback
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer))

    def waiting(self) -> list[float]:
        return [seconds for seconds, _ in self.timers]


def test_a_timer_waits_for_the_earliest_moment_until_it_fires_or_is_stopped() -> None:
    """A later moment changes nothing; one that is over, or never comes, gives a delay that any loop accepts."""
    loop: Any = SimpleNamespace(now=500.0)
    loop.time = lambda: loop.now
    clock, late = TimerClock(), list[float]()
    timer = EarliestTimer(clock, late.append, context=contextvars.copy_context())
    timer.set(1_005.0)
    assert clock.waiting() == [], "it was not started"
    timer.start(loop)
    for at, waiting in ((1_010.0, 10.0), (1_020.0, 10.0), (1_010.0, 10.0), (1_005.0, 5.0)):
        timer.set(at)
        assert clock.waiting() == [waiting]
    loop.now += 7.5
    clock.timers.pop()[1]()
    assert late == [2.5], "its owner does not count the time by which the loop was late"
    clock.ticks += 7.5
    timer.set(1_010.0)
    assert clock.waiting() == [2.5]
    timer.fire()
    assert (late, clock.waiting()) == ([2.5, 0.0], [])
    timer.set(math.inf)
    assert 3_600 <= clock.waiting()[0] <= 30 * 86_400
    timer.set(900.0)
    assert clock.waiting() == [0.0]
    for _ in range(2):
        timer.stop()
        timer.set(1_003.0)
        assert clock.waiting() == []
    timer.start(loop)
    timer.set(1_020.0)
    assert clock.waiting() == [1_020.0 - clock.monotonic()]


async def test_a_timer_fires_in_its_own_context() -> None:
    """It may be set by a task of any run, whose context variables are not its owner's."""
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="owner")
    fired = asyncio.get_running_loop().create_future()
    timer = EarliestTimer(
        SystemClock(), lambda _: fired.set_result(whose.get()), context=contextvars.copy_context()
    )
    timer.start(asyncio.get_running_loop())
    whose.set("task")
    timer.set(time.monotonic() + 0.001)
    async with time_limit(50):
        assert await fired == "owner"
