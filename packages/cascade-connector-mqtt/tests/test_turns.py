"""Work yields when it has held the loop for long."""

from __future__ import annotations

import asyncio

import pytest
from pytest_mock import MockerFixture

from cascade.connectors.mqtt import _turns
from cascade.connectors.mqtt._turns import TurnBudget


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


async def test_a_task_that_asks_twice_in_a_turn_is_told_from_many_that_ask_once(clock: list[float]) -> None:
    """Only the first kind would hold the loop for ever if it did not yield."""
    budget = TurnBudget()

    async def ask(times: int) -> list[bool]:
        return [budget.again() for _ in range(times)]

    answers = [*await asyncio.gather(ask(3), ask(1), ask(1), ask(2))]
    assert answers == [[False, True, True], [False], [False], [False, True]]
