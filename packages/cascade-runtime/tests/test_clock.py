"""Clocks and their timers: a timer fires once, at the earliest moment for which it was set."""

import asyncio
import contextvars
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from fakes import FakeClock

from cascade.runtime._support.clock import EarliestTimer, SystemClock
from cascade.testkit import time_limit

LIMIT = 50.0


class Set:
    """A timer that a test lets fire."""

    def __init__(self, seconds: float, callback: Callable[[], object]) -> None:
        self.seconds, self.callback, self.cancelled = seconds, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class TimerClock(FakeClock):
    """A clock that keeps the timers that are set on it."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[Set] = []

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Set:
        self.timers.append(Set(seconds, callback))
        return self.timers[-1]

    def waiting(self) -> list[float]:
        """Return the delays of the timers that were not cancelled."""
        return [timer.seconds for timer in self.timers if not timer.cancelled]


class TimedLoop:
    """What a timer asks of its loop: the time, which a test sets."""

    seconds = 500.0

    def time(self) -> float:
        return self.seconds


class OneTimer:
    """A timer on a clock and a loop of which a test sets the time, with what it was called with."""

    def __init__(self) -> None:
        self.clock, self.loop, self.fired = TimerClock(), TimedLoop(), list[float]()
        self.timer = EarliestTimer(self.clock, self.fired.append, context=contextvars.copy_context())

    def start(self) -> None:
        loop: Any = self.loop
        self.timer.start(loop)


@pytest.fixture
def one() -> OneTimer:
    """A timer that was started."""
    made = OneTimer()
    made.start()
    return made


def test_a_timer_waits_for_the_earliest_moment_only(one: OneTimer) -> None:
    """A later or an equal moment changes nothing; an earlier one replaces the timer that waits."""
    for at, waiting in ((1_010.0, [10.0]), (1_020.0, [10.0]), (1_010.0, [10.0]), (1_005.0, [5.0])):
        one.timer.set(at)
        assert one.clock.waiting() == waiting
    assert len(one.clock.timers) == 2


def test_a_timer_that_has_fired_can_be_set_to_a_later_moment(one: OneTimer) -> None:
    """It says by how much the loop was late: its owner then does not count that time."""
    one.timer.set(1_005.0)
    one.loop.seconds += 7.5
    one.clock.timers[0].callback()
    assert one.fired == [2.5]
    one.clock.ticks += 7.5
    one.timer.set(1_010.0)
    assert one.clock.waiting()[1:] == [2.5]


def test_a_timer_that_is_stopped_fires_no_more_until_it_is_started_again(one: OneTimer) -> None:
    """What waits is cancelled, and what is set afterwards is ignored."""
    one.timer.set(1_005.0)
    for _ in range(2):
        one.timer.stop()
        assert one.clock.waiting() == []
        one.timer.set(1_003.0)
        assert one.clock.waiting() == []
    one.start()
    one.timer.set(1_020.0)
    assert one.clock.waiting() == [20.0]
    assert not one.fired


def test_a_moment_that_is_over_or_never_comes_gives_a_delay_that_a_loop_accepts(one: OneTimer) -> None:
    """A loop of another policy refuses a timer that is years away; firing too early does no harm."""
    one.timer.set(math.inf)
    assert 3_600 <= one.clock.timers[0].seconds <= 30 * 86_400
    one.timer.set(900.0)
    assert one.clock.waiting() == [0.0]


async def test_a_timer_fires_in_its_own_context() -> None:
    """It may be set by a task of any run, whose context variables are not its owner's."""
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="owner")
    fired = asyncio.get_running_loop().create_future()
    timer = EarliestTimer(
        SystemClock(), lambda late: fired.set_result((whose.get(), late)), context=contextvars.copy_context()
    )
    timer.start(asyncio.get_running_loop())
    whose.set("task")
    timer.set(time.monotonic() + 0.001)
    async with time_limit(LIMIT):
        owner, late = await fired
    assert owner == "owner"
    assert isinstance(late, float)
