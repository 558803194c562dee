"""Work yields when it has held the loop for long, and those who had to wait go on in order."""

from __future__ import annotations

import asyncio

import pytest
from pytest_mock import MockerFixture

from cascade.connectors.mqtt import _turns
from cascade.connectors.mqtt._turns import TurnBudget, Turnstile


@pytest.fixture
def clock(mocker: MockerFixture) -> list[float]:
    """A clock that goes on by a millisecond whenever somebody looks."""
    now = [0.0]

    def look() -> float:
        now[0] += 0.001
        return now[0]

    mocker.patch.object(_turns, "time", mocker.Mock(monotonic=look))
    return now


async def test_a_budget_is_spent_after_five_milliseconds_and_renewed_with_the_turn(
    clock: list[float],
) -> None:
    """However often it is asked."""
    budget = TurnBudget()
    assert [budget.spent() for _ in range(8)] == [False] * 6 + [True] * 2
    await asyncio.sleep(0)
    assert not budget.spent()


async def test_a_thousand_callers_pass_in_the_order_in_which_they_came(clock: list[float]) -> None:
    """Also one that comes while others are let through."""
    turnstile, passed = Turnstile(), []

    async def call(number: int) -> None:
        if turnstile.closed():
            await turnstile.wait()
        passed.append(number)

    tasks = [asyncio.create_task(call(number)) for number in range(500)]
    await asyncio.sleep(0)
    assert len(passed) < 500
    tasks += [asyncio.create_task(call(number)) for number in range(500, 1_000)]
    await asyncio.gather(*tasks)
    assert passed == list(range(1_000))


async def test_a_caller_who_gives_up_holds_nobody_up(clock: list[float]) -> None:
    """Cancelled while waiting, or in the very turn in which it may pass."""
    turnstile, passed = Turnstile(), []

    async def call(number: int) -> None:
        if turnstile.closed():
            await turnstile.wait()
        passed.append(number)

    tasks = [asyncio.create_task(call(number)) for number in range(300)]
    await asyncio.sleep(0)
    first, last = len(passed), 299
    tasks[last].cancel()
    await asyncio.sleep(0)
    tasks[first].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert set(range(300)) - set(passed) == {first, last}
    await asyncio.sleep(0)
    assert not turnstile.closed()
