"""A plugin for pytest: event loops that wait for nothing. The mutants live in memory and are run with it."""

import asyncio
import selectors
import threading
import time
from collections.abc import Callable, Mapping

TURN = 1e-4
"""Seconds that a turn of the loop takes on its clock: code that waits by yielding has its time limit, too."""


class LeapingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer, move the clock to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        alone = threading.active_count() == 1  # else another thread may be about to do something
        began = time.monotonic()
        found = super().select(0 if alone and timeout else timeout)
        if alone:
            self.now += timeout if timeout and not found else TURN
        else:
            waited = time.monotonic() - began
            self.now += TURN + (waited if timeout is None else min(waited, timeout))
        return found


class LeapingLoop(asyncio.SelectorEventLoop):
    """Its clock leaps to the next timer when there is nothing else to do: only that can happen next.

    A time limit is over at once where nothing more comes, and never because the machine is slow.
    """

    def __init__(self) -> None:
        self._leaping = LeapingSelector()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"leaping": LeapingLoop}
