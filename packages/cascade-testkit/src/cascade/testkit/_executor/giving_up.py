"""Cancelling the one who awaits a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import Executor, SupportsTracking, supports
from cascade.testkit._abilities import needs
from cascade.testkit._executor import calls
from cascade.testkit._executor.ability import Ability
from cascade.testkit._executor.harness import Harness, begin, folders, give_up, ready


class GivingUp(Harness):
    """Section 2: a call that no task awaits, and ``settle``."""

    async def test_a_call_that_was_abandoned_before_its_start_never_starts(self, tmp_path: Path) -> None:
        """Given up while every worker is busy, it is never run."""
        executor = await self.open()
        *places, never = folders(tmp_path, 3)
        async with self.holding(executor, *places):
            waiting = begin(executor, calls.hold, str(never))
            await asyncio.sleep(0)
            await self.within(give_up(waiting))
            assert waiting.cancelled()
        for n in range(4):
            await self.call(executor, calls.echo, n)
        assert not (never / "started").exists()

    async def test_a_running_call_can_be_given_up(self, tmp_path: Path) -> None:
        """Its caller continues at once; the other calls and the executor go on."""
        executor = await self.open()
        places = folders(tmp_path, 2)
        async with self.holding(executor, *places) as (first, second):
            await self.within(give_up(first))
            assert first.cancelled()
            assert not second.done()
        assert await self.within(second) == "released"
        assert await self.call(executor, calls.echo, "next") == "next"

    async def test_calls_given_up_early_harm_nothing(self) -> None:
        """Wherever a call is given up, those after it get their own values."""
        executor = await self.open()
        for turns in (0, 1, 2, 3, 5, 8, 20):
            call = begin(executor, calls.echo, "given up")
            for _ in range(turns):
                await asyncio.sleep(0)
            await self.within(give_up(call))
            assert await self.call(executor, calls.echo, turns) == turns

    async def test_settle_returns_by_its_time(self, tmp_path: Path) -> None:
        """A call that does not end does not delay it."""
        executor = await self.open()
        async with self.holding(executor, tmp_path) as (call,):
            await self.within(give_up(call))
            await self.within(executor.settle(0.05))
        assert await self.within(executor.settle(self.timeout)) == 0

    async def test_settle_without_anything_given_up_returns_nothing(self) -> None:
        """Before, between and after calls that end by themselves."""
        executor = await self.open()
        counts = [await self.within(executor.settle(self.timeout))]
        await self.call(executor, calls.echo, 1)
        counts.append(await self.within(executor.settle(self.timeout)))
        assert counts == [0, 0]

    @needs(Ability.COUNTS)
    async def test_settle_counts_what_still_runs(self, tmp_path: Path) -> None:
        """One call that was given up runs on: one; it has ended: none."""
        executor = await self.open()
        async with self.holding(executor, tmp_path) as (call,):
            await self.within(give_up(call))
            assert await self.within(executor.settle(0.05)) == 1
        assert await self.within(executor.settle(self.timeout)) == 0
        assert (tmp_path / "ended").exists()

    @needs(Ability.TRACKS)
    async def test_the_end_of_an_abandoned_call_is_reported(self, tmp_path: Path) -> None:
        """Its future is there as soon as it is given up, and done when it has ended, not before."""
        executor = await self.open()
        call = asyncio.create_task(_asking(executor, calls.tidy, str(tmp_path)), name="contract asking")
        await self.until((tmp_path / "started").exists, "a call that starts")
        call.cancel()
        ended = await self.within(call)
        assert not ended.done()  # nothing has released the call yet
        seen: list[bool] = []
        ended.add_done_callback(lambda _: seen.append((tmp_path / "tidied").exists()))
        (tmp_path / "release").touch()
        await self.within(asyncio.wait({ended}))
        assert seen == [True]

    @needs(Ability.TRACKS)
    async def test_nothing_is_reported_for_a_call_that_never_started(self, tmp_path: Path) -> None:
        """Given up while every worker is busy, it will not run on."""
        executor = await self.open()
        async with self.holding(executor, *folders(tmp_path, 2)):
            call = asyncio.create_task(_asking(executor, calls.echo, 2), name="contract asking")
            await asyncio.sleep(0)
            call.cancel()
            assert await self.within(call) is None

    @needs(Ability.STOPS)
    async def test_a_running_call_is_stopped(self, tmp_path: Path) -> None:
        """It ends without having been released, and its ``finally`` blocks have run."""
        executor = await self.open()
        call = begin(executor, calls.tidy, str(tmp_path))
        await self.until((tmp_path / "started").exists, "a call that starts")
        await self.within(give_up(call))
        assert await self.within(executor.settle(self.timeout)) == 0
        assert (tmp_path / "tidied").exists()
        assert not (tmp_path / "ended").exists()

    @needs(Ability.STOPS)
    async def test_a_call_that_refuses_to_stop_is_ended_by_force(self, tmp_path: Path) -> None:
        """It catches what should end it and waits on; settle ends it."""
        executor = await self.open()
        call = begin(executor, calls.refuse, str(tmp_path))
        await self.until((tmp_path / "started").exists, "a call that starts")
        await self.within(give_up(call))
        assert await self.within(executor.settle(self.timeout)) == 0
        assert not (tmp_path / "ended").exists()
        assert await self.call(executor, calls.echo, 1) == 1

    @pytest.mark.parametrize("started", [False, True])
    async def test_a_call_given_up_leaves_nothing_behind(self, tmp_path: Path, *, started: bool) -> None:
        """``close`` leaves no task, thread, process, socket or file behind."""
        await self.warm_up()
        executor = await self.make()
        async with self.leaving_nothing():
            await ready(executor)
            async with self.holding(executor, tmp_path) as (call,):
                waiting = begin(executor, calls.echo, 1)
                await self.within(give_up(call if started else waiting))
            await self.within(asyncio.wait({waiting}))
            await self.within(executor.settle(self.timeout))
            await self.within(executor.close())


async def _asking(executor: Executor, function: Callable[..., Any], *args: Any) -> Any:
    """Await a call, and when that is cancelled return what the executor knows about its end."""
    try:
        return await executor.run(function, args, {})
    except asyncio.CancelledError:
        assert supports(executor, SupportsTracking)
        return executor.runs_on()
