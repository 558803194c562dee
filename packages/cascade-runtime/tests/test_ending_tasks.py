"""Asyncio tasks that are ended by what started them: cancelled, awaited, and not for longer than a limit."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace

import pytest

from cascade.runtime._support import loops
from cascade.runtime._support.loops import cancel, finish
from cascade.testkit import eventually, time_limit

LIMIT = 50.0


async def endless() -> None:
    await asyncio.Event().wait()


async def ignoring_cancellation(release: asyncio.Event) -> None:
    while not release.is_set():
        with suppress(asyncio.CancelledError):
            await release.wait()


async def test_tasks_that_do_not_end_in_time_are_returned() -> None:
    """All are cancelled first, so that one does not shorten the time of the others."""
    release = asyncio.Event()
    ended = [asyncio.create_task(each) for each in (endless(), ignoring_cancellation(release), endless())]
    await asyncio.sleep(0)
    assert await cancel(ended, timeout=0.01) == {ended[1]}
    assert [task.done() and task.cancelled() for task in ended] == [True, False, True]
    release.set()
    async with time_limit(LIMIT):
        assert await cancel(ended, timeout=60.0) == set()
    assert await cancel([], timeout=60.0) == set()


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_a_wait_goes_on_although_it_is_cancelled(times: int) -> None:
    """The cancellation is returned when there is nothing left to wait for; the future is not cancelled."""
    future = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(finish(future))
    await asyncio.sleep(0)
    for number in range(times):
        waiting.cancel(f"number {number}")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not waiting.done()
    future.set_result("value")
    async with time_limit(LIMIT):
        cancelled = await waiting
    assert (cancelled is None) is (times == 0)
    assert cancelled is None or cancelled.args == (f"number {times - 1}",)
    assert future.result() == "value"


async def test_a_wait_ends_with_its_limit_and_leaves_the_future_alone() -> None:
    """Also if there is no time at all."""
    future = asyncio.get_running_loop().create_future()
    async with time_limit(LIMIT):
        for seconds in (0.01, 0.0, -1.0):
            assert await finish(future, timeout=seconds) is None
    assert not future.done()


async def test_a_wait_that_is_cancelled_ends_with_its_limit_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time counts from the beginning, and the cancellation is returned."""
    times = iter((0.0, 1.0, 61.0))
    monkeypatch.setattr(loops, "time", SimpleNamespace(monotonic=lambda: next(times)))
    future = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(finish(future, timeout=60.0))
    await asyncio.sleep(0)
    waiting.cancel()
    async with time_limit(LIMIT):
        assert isinstance(await waiting, asyncio.CancelledError)
    assert not future.done()


async def test_a_wait_for_what_is_over_takes_no_turn_of_the_loop() -> None:
    """Whatever became of it: its error is the caller's to read."""
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ValueError("boom"))
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    assert await finish(future, timeout=60.0) is None
    assert not turns
    assert str(future.exception()) == "boom"
    await eventually(lambda: turns == [1])
