"""The event loop that ``cs.run`` runs on: one whose waits are exact and that can watch sockets."""

from __future__ import annotations

import asyncio
import sys

if sys.platform == "linux":
    import select
    import selectors

    class ExactSelector(selectors.EpollSelector):
        """Waits to the microsecond: ``epoll_wait`` knows only milliseconds, and Python rounds up to them.

        A loop that is woken while tasks sleep (by a broker's answer, say) would otherwise let each of
        them sleep up to a millisecond longer.
        """

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Return what is ready, after ``timeout`` seconds at the latest; see ``BaseSelector.select``."""
            if timeout is not None and timeout > 0:
                select.select([self], (), (), timeout)
                timeout = 0
            return super().select(timeout)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop to run on: ``asyncio.Runner(loop_factory=cs.new_event_loop)``.

    It is asyncio's, or that of another policy if one is set (uvloop). On Windows it is one that can watch
    sockets, which MQTT needs; on Linux asyncio's waits are exact to the microsecond and not rounded up to
    whole milliseconds.
    """
    if sys.platform == "win32":
        return asyncio.SelectorEventLoop()
    loop = asyncio.new_event_loop()
    if sys.platform == "linux" and _is_asyncios_own(loop):
        selector = ExactSelector()
        if selector.fileno() < _SELECTABLE:
            loop.close()
            return asyncio.SelectorEventLoop(selector)
        selector.close()
    return loop


def _is_asyncios_own(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether nobody has had a hand in a loop: a policy may have made it, or set something on it."""
    touched = loop.get_task_factory() or loop.get_exception_handler()
    return type(loop) is asyncio.SelectorEventLoop and not touched


_SELECTABLE = 1024
"""``select`` takes no higher file descriptors: FD_SETSIZE of select(2)."""
