"""Work yields when it has held the loop for long."""

from __future__ import annotations

import asyncio

import pytest
from pytest_mock import MockerFixture

from cascade.transport import event_loop
from cascade.transport.event_loop import LoopBudget


@pytest.fixture
def clock(mocker: MockerFixture) -> list[float]:
    """A clock that advances by a millisecond at each reading."""
    now = [0.0]

    def look() -> float:
        now[0] += 0.001
        return now[0]

    mocker.patch.object(event_loop, "time", mocker.Mock(monotonic=look))
    return now


async def test_a_budget_is_spent_after_five_milliseconds_and_renewed_with_the_turn(
    clock: list[float],
) -> None:
    """However often it is asked."""
    budget = LoopBudget()
    assert [budget.spent() for _ in range(8)] == [False] * 6 + [True] * 2
    await asyncio.sleep(0)
    assert not budget.spent()
