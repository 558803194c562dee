"""Values and errors that a call gives back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cascade.interfaces import Executor
from cascade.testkit._executor import calls
from cascade.testkit._executor.harness import Harness, folders


class Values(Harness):
    """Section 1: values, errors, and many at a time."""

    async def test_it_is_an_executor(self) -> None:
        """It has the methods of the protocol, and two workers, as ``make`` promises."""
        executor = await self.open()
        assert isinstance(executor, Executor)
        assert executor.workers == 2

    @pytest.mark.parametrize("value", [None, 0, "", "text", b"\x00", [1, {"a": (2.5, None)}], {3, 4}])
    async def test_a_value_comes_back_as_it_is(self, value: object) -> None:
        """None and what is empty too."""
        executor = await self.open()
        got = await self.call(executor, calls.echo, value)
        assert (type(got), got) == (type(value), value)

    async def test_arguments_arrive_as_they_were_given(self) -> None:
        """By position and by name, whatever the names are."""
        executor = await self.open()
        named = {"key": 1, "workers": 2, "function": 3, "args": 4, "self": 5, "pure": 6}
        got = await self.within(executor.run(calls.describe, ("a", ("b",)), named))
        assert got == (("a", ("b",)), named)

    @pytest.mark.parametrize("error", [ValueError, KeyError, LookupError, TimeoutError, ExceptionGroup])
    async def test_what_is_raised_is_raised(self, error: type[Exception]) -> None:
        """An error keeps its type and its text."""
        executor = await self.open()
        if error is ExceptionGroup:
            with pytest.raises(ExceptionGroup, match="several") as several:
                await self.call(executor, calls.echo_error, ExceptionGroup("several", [OSError(2, "gone")]))
            assert str(several.value.exceptions[0]) == "[Errno 2] gone"
            return
        with pytest.raises(error) as raised:
            await self.call(executor, calls.fail, error, "no such thing")
        assert type(raised.value) is error
        assert raised.value.args == ("no such thing",)

    async def test_an_error_contains_where_it_was_raised(self) -> None:
        """The function that raised it shows in the traceback, here or in what was carried over."""
        executor = await self.open()
        with pytest.raises(ArithmeticError) as raised:
            await self.call(executor, calls.fail, ArithmeticError, "lost")
        frames = [entry.name for entry in raised.traceback]
        assert "fail" in frames or "in fail\n" in str(raised.value.__cause__)

    async def test_an_error_with_arguments_of_its_own_is_raised(self) -> None:
        """An error whose ``__init__`` differs from its ``args`` keeps type, text and attributes."""
        executor = await self.open()
        with pytest.raises(calls.Unfriendly, match=r"unfriendly \(7\)") as raised:
            await self.call(executor, calls.fail_unfriendly, 7)
        assert raised.value.code == 7

    async def test_stop_iteration_does_not_hang(self) -> None:
        """No future can carry it; it is raised as a RuntimeError that names it."""
        executor = await self.open()
        with pytest.raises(RuntimeError, match="StopIteration"):
            await self.call(executor, calls.fail, StopIteration, "end")

    async def test_an_error_harms_no_other_call(self) -> None:
        """After a failure, and beside one, calls run as before."""
        executor = await self.open()
        outcomes = await self.within(
            asyncio.gather(
                executor.run(calls.fail, (OSError, "failed"), {}),
                executor.run(calls.echo, ("beside",), {}),
                return_exceptions=True,
            )
        )
        assert [type(outcomes[0]), outcomes[1]] == [OSError, "beside"]
        assert await self.call(executor, calls.echo, "after") == "after"

    async def test_more_calls_than_workers_are_all_answered(self) -> None:
        """Of a hundred calls at a time each gets its own value."""
        executor = await self.open()
        values = await self.within(asyncio.gather(*(executor.run(calls.echo, (n,), {}) for n in range(100))))
        assert values == list(range(100))

    async def test_as_many_run_at_a_time_as_there_are_workers(self, tmp_path: Path) -> None:
        """Each of two calls waits until it sees the other."""
        executor = await self.open()
        met = await self.within(
            asyncio.gather(*(executor.run(calls.meet, (str(tmp_path), str(n), 2), {}) for n in range(2)))
        )
        assert met == [True, True]

    async def test_a_busy_worker_does_not_hold_the_loop(self, tmp_path: Path) -> None:
        """While every worker is busy the loop turns, and a call that waits is run afterwards."""
        executor = await self.open()
        places = folders(tmp_path, 2)
        async with self.holding(executor, *places):
            waiting = asyncio.create_task(executor.run(calls.echo, (1,), {}), name="contract waiting")
            for _ in range(10):
                await asyncio.sleep(0)
        assert await self.within(waiting) == 1

    async def test_a_large_value_arrives_whole(self) -> None:
        """Eight megabytes there, and eight back."""
        executor = await self.open()
        sent = bytes(range(256)) * 32_768
        assert await self.call(executor, calls.echo, sent) == sent
        assert len(await self.call(executor, calls.make, len(sent))) == len(sent)
