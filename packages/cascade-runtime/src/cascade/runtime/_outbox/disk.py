"""The way from the event loop to a sender's file: calls are posted, and posted again while the disk fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from cascade.interfaces import Clock, OutboxUnavailable
from cascade.interfaces.logs import get_logger
from cascade.runtime._outbox.file import OutboxFile
from cascade.runtime._outbox.settings import OutboxSettings
from cascade.runtime._outbox.store import Operation, OutboxStore, unavailable
from cascade.runtime._storage.group_commit import GroupCommit
from cascade.transport.state_log import StateLog

_log = get_logger("cascade.outbox")

RETRY_DISK = 5.0
"""Seconds between two tries while the disk fails."""
CLOSE_TIMEOUT = 5.0
"""Seconds for which closing waits for the disk."""

Apply = Callable[[OutboxFile], Any]
Done = Callable[[Any], None]


def ignore(result: object) -> None:
    """Do nothing with a result."""


class Disk:
    """The file of one sender, as its event loop sees it; no call waits.

    :param on_works: called when the disk works again.
    :param on_fails: called with each call that fails.
    """

    def __init__(
        self,
        settings: OutboxSettings,
        source: str,
        clock: Clock,
        *,
        on_works: Callable[[], None],
        on_fails: Callable[[], None],
    ) -> None:
        self._folder = settings.folder
        self._on_works = on_works
        self._on_fails = on_fails
        self._loop = asyncio.get_running_loop()
        self._state = StateLog(_log)
        self._again: list[tuple[Apply, Done]] = []
        self._fault: BaseException | None = None  # why those calls have failed
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._commit: GroupCommit[Operation] = GroupCommit(
            OutboxStore(settings, source, clock), name="cascade outbox"
        )

    @property
    def failing(self) -> bool:
        """Whether calls wait for the disk to work again."""
        return bool(self._again)

    def post(self, apply: Apply, done: Done = ignore) -> None:
        """Call ``apply(file)`` in the thread, in order; ``done`` gets the result on the loop.

        If that fails, it is tried again later. After :meth:`stop`, and in a forked child, nothing is done.
        """
        self._post(apply, done, has_failed=False)

    def _post(self, apply: Apply, done: Done, *, has_failed: bool) -> None:
        try:
            future = self._commit.call(Operation(apply=apply))
        except RuntimeError:
            return
        future.add_done_callback(partial(self._answered, apply, done, has_failed))

    async def ask(self, apply: Apply, timeout: float) -> Any:
        """Call ``apply(file)`` once in the thread, behind what was posted; return the result.

        :param timeout: seconds for which the disk may take.
        :raises OutboxUnavailable: if it takes longer, or fails; the message states why.
        """
        future = self._commit.call(Operation(apply=apply))
        future.add_done_callback(_noted)
        done, _ = await asyncio.wait({future}, timeout=timeout)
        if not done:
            raise OutboxUnavailable(str(self._folder), "the disk does not answer; try again when it works")
        error = future.exception() or (self._fault if self.failing else None)
        if error is not None:
            raise unavailable(self._folder, error)
        return future.result()

    def try_again(self) -> None:
        """Try now what has failed, in order; the next failure waits again. Do nothing if nothing has failed."""
        if not self._again:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        again, self._again = self._again, []
        for apply, done in again:
            self._post(apply, done, has_failed=True)
        self._on_works()

    def barrier(self) -> asyncio.Future[Any]:
        """Return a future that completes when everything posted before has been tried."""
        reached = self._loop.create_future()

        def reach(future: asyncio.Future[Any]) -> None:
            _noted(future)
            if not reached.done():
                reached.set_result(None)

        try:
            self._commit.call(Operation(apply=ignore)).add_done_callback(reach)
        except RuntimeError:
            reached.set_result(None)
        return reached

    def stop(self) -> asyncio.Future[None] | None:
        """Begin to close the file behind what was posted; return the future of that, None if there is nothing to do."""
        if self._stopped:
            return None
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            return self._commit.stop()
        except RuntimeError:  # a forked child
            return None

    def _answered(self, apply: Apply, done: Done, has_failed: bool, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            if has_failed:  # a full disk can be read all the time
                self._state.works("disk", "outbox %s can be written again", self._folder)
            done(future.result())
            return
        self._state.failed("disk", "%s; events wait in memory only, and it is tried again", error)
        self._fault = error
        if not self._stopped:
            self._again.append((apply, done))
            self._timer = self._timer or self._loop.call_later(RETRY_DISK, self.try_again)
        self._on_fails()


def _noted(future: asyncio.Future[Any]) -> None:
    """Have asyncio not log an error that nothing waits for now."""
    if not future.cancelled():
        future.exception()
