"""The harness: what the author of an executor fills in, and what every section of the suite builds on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from cascade.interfaces import Executor, SupportsStart, supports
from cascade.testkit._abilities import Declaring
from cascade.testkit._executor import calls
from cascade.testkit._executor.ability import Ability
from cascade.testkit._executor.children import children
from cascade.testkit.leaks import no_leaks
from cascade.testkit.waiting import eventually, time_limit


class Harness(Declaring):
    """Subclass hooks. ``make`` must be given."""

    pytestmark = pytest.mark.asyncio

    abilities: ClassVar[frozenset[Ability]] = frozenset()
    """What this executor declares to be able to do; the tests of the rest are skipped."""

    timeout: ClassVar[float] = 30.0
    """Seconds after which what has not happened is a failure; more on a busy machine."""

    async def make(self) -> Executor:
        """Return a new executor with two workers, not started."""
        raise NotImplementedError

    @pytest_asyncio.fixture(autouse=True)
    async def _close_all(self, _only_what_is_declared: None, tmp_path: Path) -> AsyncIterator[None]:
        yield
        # or Python would wait at its end for the calls of a test that has failed
        calls.release_all(tmp_path)
        # pytest keeps this object to its end
        for executor in self.__dict__.pop("_executors", []):
            await executor.close()

    async def open(self) -> Executor:
        """Return an executor that is ready, and is closed after the test."""
        executor = await self.make()
        self.__dict__.setdefault("_executors", []).append(executor)
        await ready(executor)
        return executor

    async def warm_up(self) -> None:
        """Use one executor and close it, so that what a library opens once and keeps is there."""
        executor = await self.make()
        await ready(executor)
        await self.call(executor, calls.echo, 1)
        await self.within(executor.close())

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition for at most ``timeout`` seconds."""
        await eventually(condition, self.timeout, what=what)

    async def within(self, action: Any) -> Any:
        """Await an action that must not hang."""
        async with time_limit(self.timeout):
            return await action

    async def call(self, executor: Executor, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run one call, which must not hang."""
        return await self.within(executor.run(function, args, kwargs))

    @asynccontextmanager
    async def holding(self, executor: Executor, *folders: Path) -> AsyncIterator[list[asyncio.Task[Any]]]:
        """Keep a worker busy for each folder while the body runs; then release all, and wait for them."""
        tasks = [begin(executor, calls.hold, str(folder)) for folder in folders]
        try:
            for folder in folders:
                await self.until((folder / "started").exists, "a call that starts")
            yield tasks
        finally:
            for folder in folders:
                (folder / "release").touch()
            await asyncio.wait(tasks, timeout=self.timeout)

    @asynccontextmanager
    async def leaving_nothing(self) -> AsyncIterator[None]:
        """Fail if the body leaves a task, a thread, a process, a socket or an open file behind."""
        before = children()
        async with no_leaks(self.timeout):
            yield
            left = _Children(before)
            await eventually(left.gone, self.timeout, what="every process that the body started has ended")


def begin(executor: Executor, function: Callable[..., Any], *args: Any) -> asyncio.Task[Any]:
    """Begin a call without waiting for it."""
    return asyncio.create_task(executor.run(function, args, {}), name=f"contract {function.__name__}")


async def give_up(task: asyncio.Task[Any]) -> None:
    """Cancel a call, and wait until the one who awaits it knows."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def ready(executor: Executor) -> None:
    """Start an executor that wants to be started."""
    if supports(executor, SupportsStart):
        await executor.start()


def folders(place: Path, count: int) -> list[Path]:
    """Make so many empty folders."""
    made = [place / str(number) for number in range(count)]
    for folder in made:
        folder.mkdir()
    return made


class _Children:
    """A condition whose representation lists what is left."""

    def __init__(self, before: dict[int, str]) -> None:
        self._before = before
        self._left: dict[int, str] = {}

    def gone(self) -> _Children:
        self._left = {number: name for number, name in children().items() if number not in self._before}
        return self

    def __bool__(self) -> bool:
        return not self._left

    def __repr__(self) -> str:
        return f"left behind: {self._left}"
