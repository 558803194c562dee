"""Calls that were given up while they run: how many still do, and which of them a task gave up last."""

from __future__ import annotations

import asyncio

from cascade.interfaces.executor import AbandonedCalls

LIMIT = 20.0


async def test_calls_that_were_given_up_count_until_they_end() -> None:
    """``settle`` waits for them, no longer than it is told to, and says how many run on."""
    calls = AbandonedCalls()
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
    calls.add(first)
    calls.add(second)
    assert first in calls
    assert await calls.settle(0) == 2
    first.set_result(None)
    assert await calls.settle(0) == 1
    assert (first in calls, second in calls) == (False, True)
    waiting = asyncio.create_task(calls.settle(LIMIT))
    await asyncio.sleep(0)
    second.set_result(None)
    assert await waiting == 0
    assert await calls.settle(LIMIT) == 0
    third = asyncio.get_running_loop().create_future()
    calls.add(third)
    calls.forget()
    assert third not in calls
    assert await calls.settle(LIMIT) == 0


async def test_a_task_learns_once_whether_the_call_that_it_gave_up_last_runs_on() -> None:
    """Another task gave up other calls; a call that has ended does not run on."""
    calls = AbandonedCalls()
    made = asyncio.get_running_loop().create_future

    async def give_up(*ends: asyncio.Future[None]) -> asyncio.Future[None] | None:
        for end in ends:
            calls.add(end)
        found = calls.runs_on()
        assert calls.runs_on() is None
        return found

    one, two, three, ended = made(), made(), made(), made()
    ended.set_result(None)
    found = await asyncio.gather(
        *map(asyncio.create_task, [give_up(one, two), give_up(three), give_up(ended), give_up()])
    )
    assert found == [two, three, None, None]
