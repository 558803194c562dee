"""Waits: for a step of progress, for an answer of the outside world, and for an outbox to empty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cascade.transport.outbox import Outbox

STEP = 0.1
"""Seconds of one wait. A process that stood still, or whose loop was blocked, loses at most so many of its timeout."""


class AwakeTimeout:
    """Seconds that are left for waits, one after the other.

    Only time counts in which this process could have read an answer: after SIGSTOP, or on a machine
    that slept or was busy, what has arrived meanwhile is read before the timeout is over.
    """

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    async def wait(self, task: asyncio.Future[Any]) -> None:
        """Return when the task is done or no time is left; then at once, but after reading the network once."""
        now = asyncio.get_running_loop().time
        while True:
            step, began = max(min(self.left, STEP), 0.0), now()
            await asyncio.wait({task}, timeout=step)
            self.left -= min(step, now() - began) if task.done() else step
            if task.done() or self.left <= 0:
                return


class Progress:
    """Wakes every coroutine that waits for the next step. Made on the event loop of its waiters."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake every waiter: something has moved, or may have."""
        while self.waiters:
            waiter = self.waiters.pop()
            if not waiter.done():
                waiter.set_result(None)

    async def following(self, timeout: float) -> bool:
        """Wait until something moves; return whether that was within ``timeout`` seconds."""
        with self.waiter() as waiter:
            await asyncio.wait({waiter}, timeout=timeout)
        return waiter.done()

    @contextmanager
    def waiter(self) -> Iterator[asyncio.Future[None]]:
        """Give a future that the next :meth:`notify` completes."""
        waiter = self._loop.create_future()
        self.waiters.add(waiter)
        try:
            yield waiter
        finally:
            self.waiters.discard(waiter)


NO_PROGRESS = 2.0
"""Seconds that a drain waits while the link is up and no message is sent or dropped."""
NO_LINK = 0.3
"""Seconds that a drain waits for a link if the last one ended more than ``RECENT`` seconds ago."""
RECENT = 10.0
"""Seconds after the end of a link in which the next one is likely: a drain then waits for it."""
_TURNS = 10
"""Iterations of the event loop: more than an answer needs from the socket to the outbox."""


class Drain(Progress):
    """Waits for an outbox. Call :meth:`notify` each time that its state may have changed."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    async def flush(self, timeout: float) -> bool:
        """Wait until everything accepted so far is sent or dropped; return whether it is.

        :param timeout: seconds; those in which this process stands still do not count.
        """
        limit = AwakeTimeout(timeout)
        target = self._outbox.accepted
        while self._holds(target):
            if limit.left <= 0:
                return False
            with self.waiter() as waiter:
                await limit.wait(waiter)
        return True

    def _holds(self, target: int) -> bool:
        """Return whether a message is pending that was accepted as one of the first ``target``."""
        return (oldest := self._outbox.oldest()) is not None and oldest <= target

    async def drain(
        self, timeout: float, *, unlinked_for: Callable[[], float], target: int | None = None
    ) -> bool:
        """Wait until the outbox is empty; return whether it is.

        With a target, wait only for the messages that were accepted as one of the first ``target``.
        Give up earlier if the link moves nothing for ``NO_PROGRESS`` seconds, or after ``NO_LINK`` seconds
        if no link is likely.

        :param unlinked_for: returns the seconds since there was a link; 0 if there is one, infinity if
            there was none.
        """
        began = self._loop.time()
        deadline = progress_by = began + timeout
        link_by = began + NO_LINK
        settled, was_linked, is_last_check = self._outbox.settled, False, False
        while self._outbox.pending and (target is None or self._holds(target)):
            now = self._loop.time()
            linked, recent = unlinked_for() == 0, unlinked_for() <= RECENT
            if recent:
                link_by = deadline
            if (linked and not was_linked) or self._outbox.settled != settled:
                progress_by = now + NO_PROGRESS
            settled, was_linked = self._outbox.settled, linked
            if (left := min(deadline, progress_by if linked else link_by) - now) > 0:
                await self.following(left)
            elif is_last_check:
                return False
            else:
                # if the process stood still, answers have arrived meanwhile: take them in first
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
            is_last_check = left <= 0
        return True
