"""An executor that keeps its contract, and four that break one promise each. Not collected by itself."""

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any

from cascade.interfaces import Executor
from cascade.testkit.executor import Ability, ExecutorContract


class Sound:
    """The smallest executor over the standard library's threads."""

    workers = 2

    def __init__(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(self.workers)
        self._given_up: set[concurrent.futures.Future[Any]] = set()

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self._pool.submit(self.carry_out, function, args, kwargs)
        try:
            return await asyncio.wrap_future(call)
        except asyncio.CancelledError:
            if not call.done():
                self._given_up.add(call)
            raise

    def carry_out(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return function(*args, **kwargs)
        except StopIteration as exc:
            raise RuntimeError("the task raised StopIteration") from exc

    async def settle(self, timeout: float) -> int:
        if self._given_up:
            await asyncio.wait([asyncio.wrap_future(call) for call in self._given_up], timeout=timeout)
        self._given_up = {call for call in self._given_up if not call.done()}
        return len(self._given_up)

    async def close(self) -> None:
        self._pool.shutdown(wait=False)
        self._pool = concurrent.futures.ThreadPoolExecutor(self.workers)


class LosesAResult(Sound):
    """Of many calls at a time, one is answered with nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._calls += 1
        lost = self._calls == 50
        value = await super().run(function, args, kwargs)
        return None if lost else value


class SwallowsAnError(Sound):
    """A LookupError is taken for a missing value."""

    def carry_out(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return super().carry_out(function, args, kwargs)
        except LookupError:
            return None


class LeaksOnCancel(Sound):
    """A call that is given up before it has begun leaves the task that waits for it."""

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return await super().run(function, args, kwargs)
        except asyncio.CancelledError:
            self._watch = asyncio.create_task(asyncio.Event().wait(), name="nobody's")
            raise


class TellsTooEarly(Sound):
    """A call that is given up is said to have ended while it runs."""

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._call = self._pool.submit(self.carry_out, function, args, kwargs)
        return await asyncio.wrap_future(self._call)

    def runs_on(self) -> asyncio.Future[None] | None:
        ended = asyncio.get_running_loop().create_future()
        ended.set_result(None)
        return ended if self._call.running() else None


class TestSound(ExecutorContract):
    async def make(self) -> Executor:
        return Sound()


class TestLosesAResult(ExecutorContract):
    async def make(self) -> Executor:
        return LosesAResult()


class TestSwallowsAnError(ExecutorContract):
    async def make(self) -> Executor:
        return SwallowsAnError()


class TestTellsTooEarly(ExecutorContract):
    abilities = frozenset({Ability.TRACKS})

    async def make(self) -> Executor:
        return TellsTooEarly()


class TestLeaksOnCancel(ExecutorContract):
    patience = 2.0

    async def make(self) -> Executor:
        return LeaksOnCancel()
