"""Closing, using again, and what is left."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from cascade.interfaces import CascadeError, Executor, SupportsStart, supports
from cascade.testkit._executor import calls
from cascade.testkit._executor.harness import Harness, begin, ready


class Life(Harness):
    """Section 3: close, and again."""

    async def test_close_twice_is_harmless(self) -> None:
        """Before any use, and after a first time, it returns and raises nothing."""
        executor = await self.make()
        await self.within(executor.close())
        await self._use(executor)
        await self.within(executor.close())
        await self.within(executor.close())

    async def test_start_twice_is_harmless(self) -> None:
        """Starting an executor that has started does nothing."""
        executor = await self.open()
        if supports(executor, SupportsStart):
            await self.within(executor.start())
        await self._use(executor)

    async def test_after_close_it_works_again_or_raises_an_error_that_explains(self) -> None:
        """It never hangs."""
        executor = await self.open()
        await self._use(executor)
        await self.within(executor.close())
        with contextlib.suppress(CascadeError):
            await self._use(executor)

    async def test_close_does_not_wait_for_a_call(self, tmp_path: Path) -> None:
        """A call that still runs does not delay it."""
        executor = await self.open()
        async with self.holding(executor, tmp_path):
            await self.within(executor.close())

    async def test_two_loops_may_use_it_one_after_the_other(self) -> None:
        """A new event loop can use what an earlier one used, even if nothing closed it in between."""
        executor = await self.make()
        new_loop = type(asyncio.get_running_loop())

        def in_a_loop_of_its_own(value: str) -> object:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                return runner.run(self._use(executor, value))

        assert [await asyncio.to_thread(in_a_loop_of_its_own, value) for value in ("a", "b")] == ["a", "b"]
        await self.within(executor.close())

    async def test_nothing_is_left_behind(self) -> None:
        """``close`` leaves no task, thread, process, socket or file behind."""
        await self.warm_up()
        executor = await self.make()
        async with self.leaving_nothing():
            await self._use(executor)
            with pytest.raises(OSError, match="failed"):
                await self.call(executor, calls.fail, OSError, "failed")
            await self.within(executor.close())

    async def test_a_running_call_is_not_left_behind(self, tmp_path: Path) -> None:
        """Closed in the middle of a call, and the call released: nothing remains."""
        await self.warm_up()
        executor = await self.make()
        async with self.leaving_nothing():
            await ready(executor)
            async with self.holding(executor, tmp_path):
                await self.within(executor.close())
            await self.within(executor.close())

    @pytest.mark.parametrize("turns", [0, 1, 3, 10])
    async def test_a_cancelled_close_leaves_nothing_behind(self, turns: int) -> None:
        """Wherever close is cancelled, all is free after it was called again."""
        await self.warm_up()
        executor = await self.make()
        async with self.leaving_nothing():
            await self._use(executor)
            closing = asyncio.create_task(executor.close(), name="contract close")
            for _ in range(turns):
                await asyncio.sleep(0)
            closing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await closing
            await self.within(executor.close())

    async def _use(self, executor: Executor, value: str = "used") -> object:
        await self.within(ready(executor))
        return await self.within(begin(executor, calls.echo, value))
