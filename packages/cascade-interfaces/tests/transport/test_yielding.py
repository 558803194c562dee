"""Work yields when it has held the loop for long."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from pytest_mock import MockerFixture

from cascade.transport import yielding
from cascade.transport.yielding import CallQueue, LoopBudget


class Caller:
    """Makes calls through a queue, as ``publish`` does, and records them."""

    def __init__(self, limit: float | None = None) -> None:
        self.queue = CallQueue(self.make, most=100, heaviest=1000, limit=limit)
        self.made: list[int] = []

    async def call(self, number: int) -> None:
        if self.queue.full():
            self.queue.later(10, number)
        else:
            self.make(number)

    def make(self, number: int) -> None:
        if number < 0:
            raise ValueError(number)
        self.made.append(number)


@pytest.fixture
def clock(mocker: MockerFixture) -> list[float]:
    """A clock that advances by a millisecond at each reading."""
    now = [0.0]

    def look() -> float:
        now[0] += 0.001
        return now[0]

    mocker.patch.object(yielding, "time", mocker.Mock(monotonic=look))
    return now


async def test_a_budget_is_spent_after_five_milliseconds_and_renewed_with_the_turn(
    clock: list[float],
) -> None:
    """However often it is asked."""
    budget = LoopBudget()
    assert [budget.spent() for _ in range(8)] == [False] * 6 + [True] * 2
    await asyncio.sleep(0)
    assert not budget.spent()


async def test_a_task_that_asks_twice_in_a_turn_is_told_from_many_that_ask_once(clock: list[float]) -> None:
    """Only the first kind would hold the loop for ever if it did not yield."""
    budget = LoopBudget()

    async def ask(times: int) -> list[bool]:
        return [budget.repeated() for _ in range(times)]

    answers = [*await asyncio.gather(ask(3), ask(1), ask(1), ask(2))]
    assert answers == [[False, True, True], [False], [False], [False, True]]


async def test_calls_of_many_tasks_are_spread_over_loop_iterations_in_order(clock: list[float]) -> None:
    """No iteration makes more than fit into the budget, and a call that is not made yet is not overtaken."""
    caller = Caller()
    tasks = [asyncio.create_task(caller.call(number)) for number in range(30)]
    iterations = [0]
    while len(caller.made) < 30:
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(caller.call(30 + len(iterations))))
        iterations.append(len(caller.made))
    await asyncio.gather(*tasks)
    assert caller.made == [*range(30), *range(31, 30 + len(iterations))]
    assert max(after - before for before, after in pairwise(iterations)) == 6


async def test_a_queue_makes_no_more_calls_in_an_iteration_than_its_own_limit_allows(
    clock: list[float],
) -> None:
    """Other work of the same connector has its time in the same iteration."""
    caller, iterations = Caller(0.0025), [0]
    tasks = [asyncio.create_task(caller.call(number)) for number in range(30)]
    while len(caller.made) < 30:
        await asyncio.sleep(0)
        iterations.append(len(caller.made))
    await asyncio.gather(*tasks)
    assert caller.made == [*range(30)]
    assert max(after - before for before, after in pairwise(iterations)) == 3


async def test_waiting_calls_can_be_made_at_once(clock: list[float]) -> None:
    """Before a call from synchronous code, and before a disconnect."""
    caller = Caller()
    tasks = [asyncio.create_task(caller.call(number)) for number in range(30)]
    await asyncio.sleep(0)
    caller.queue.run_all()
    assert caller.made == [*range(30)]
    await asyncio.gather(*tasks)


async def test_a_call_that_fails_affects_no_other(clock: list[float]) -> None:
    """The event loop reports its error."""
    reported: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    caller = Caller()
    await asyncio.gather(*[caller.call(number) for number in [*range(10), -1, *range(11, 20)]])
    while caller.queue:
        await asyncio.sleep(0)
    assert caller.made == [*range(10), *range(11, 20)]
    assert [type(error) for error in reported] == [ValueError]


@pytest.mark.parametrize(("weight", "waiting"), [(1, 100), (10, 100), (50, 20), (2000, 0)])
async def test_what_waits_is_bounded(clock: list[float], weight: int, waiting: int) -> None:
    """In number and in weight: beyond it the oldest calls are made, in order."""
    caller = Caller()
    for number in range(150):
        caller.queue.later(weight, number)
    assert len(caller.queue) == waiting
    assert caller.made == [*range(150 - waiting)]
    caller.queue.run_all()
    assert caller.made == [*range(150)]
    assert caller.queue.made == 150
