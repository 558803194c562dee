"""A plugin for pytest: event loops that wait for nothing. The mutants live in memory and are run with it."""

import asyncio
import selectors
import threading
from collections.abc import Callable, Mapping


class LeapingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer it says how far ahead of the time that is."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        alone = threading.active_count() == 1  # else another thread may be about to do something
        found = super().select(0 if alone and timeout else timeout)
        if alone and timeout and not found:
            self.ahead += timeout
        return found


class LeapingLoop(asyncio.SelectorEventLoop):
    """Its clock leaps to the next timer when there is nothing else to do: only that can happen next.

    A time limit is over at once where nothing more comes, and never because the machine is slow.
    """

    def __init__(self) -> None:
        self._leaping = LeapingSelector()
        super().__init__(self._leaping)

    def time(self) -> float:
        return super().time() + self._leaping.ahead


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"leaping": LeapingLoop}
