"""An event loop whose seconds pass at once: tests of time limits that wait for nothing."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

Arguments = ParamSpec("Arguments")


class LeapingSelector(selectors.DefaultSelector):
    """Moves the clock to the next timer instead of waiting for it."""

    ahead = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.ahead += timeout or 0.0
        ready = super().select(0)
        if timeout is None and not ready:
            raise RuntimeError("every task waits, and nothing is left that could wake one")
        return ready


class LeapingLoop(asyncio.SelectorEventLoop):
    """Its seconds pass at once."""

    def __init__(self) -> None:
        self._leaping = LeapingSelector()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.ahead

    def stand_still(self, seconds: float) -> None:
        """Do as if the process had been stopped for so long."""
        self._leaping.ahead += seconds


def leaping(test: Callable[Arguments, Coroutine[Any, Any, None]]) -> Callable[Arguments, None]:
    """Run an async test on a leaping loop; it fails, too, if a callback of the loop or a forgotten task does."""

    @functools.wraps(test)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        problems: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: problems.append(context))
            runner.run(test(*args, **kwargs))
        assert not problems, problems

    return run
