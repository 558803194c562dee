"""The thread of a sender's file, and what the event loop posts to it: messages that wait, and what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cascade.interfaces import Clock, OutboxUnavailable
from cascade.interfaces.logs import get_logger
from cascade.runtime._outbox.file import MAX_ASIDE, OutboxFile, OutboxPaths, Row
from cascade.runtime._outbox.schema import KIND, State
from cascade.runtime._outbox.send_order import CAPACITY, QueuedMessage
from cascade.runtime._outbox.settings import OutboxSettings
from cascade.runtime._storage import private_files, process_lock
from cascade.runtime._storage.database import cause_of, newer_version
from cascade.runtime._storage.group_commit import GroupCommit, Request
from cascade.runtime._storage.process_lock import LockedError
from cascade.transport.state_log import StateLog

_log = get_logger("cascade.outbox")

RETRY_DISK = 5.0
"""Seconds between two tries while the disk fails."""

PAGE = 400
"""Messages that are read from the file at once."""

Apply = Callable[[OutboxFile], Any]
Done = Callable[[Any], None]


def ignore(result: object) -> None:
    """Do nothing with a result."""


@dataclass(slots=True, eq=False)
class Operation(Request):
    """One call of the file, within the commit of all that wait."""

    apply: Callable[[OutboxFile], Any] = field(kw_only=True)


class OutboxStore:
    """Opens a sender's file at the first operation, and again at each one until that succeeds.

    :param source: the sender's name.
    """

    def __init__(self, settings: OutboxSettings, source: str, clock: Clock) -> None:
        self._settings = settings
        self._source = source
        self._clock = clock
        self._file: OutboxFile | None = None

    def serve(self, batch: Sequence[Operation], /) -> None:
        """Apply operations in one commit; if that fails, none of them is done."""
        file = self._file = self._file or open_file(self._settings, self._source, self._clock)
        with file.transact():
            for operation in batch:
                operation.result = operation.apply(file)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def open_file(settings: OutboxSettings, source: str, clock: Clock) -> OutboxFile:
    """Lock and open the file of a sender; blocks. A file of a later Cascade is left alone: another one is used beside it.

    :raises OutboxUnavailable: if it cannot be used; the message states why.
    """
    paths = OutboxPaths.of(settings.folder, source)
    try:
        private_files.prepare(settings.folder, OutboxUnavailable)
        paths = _not_newer(paths)
        lock = process_lock.take(paths.lock, since=clock.now())
    except LockedError as exc:
        cause = f"is in use by process {exc.pid} on {exc.host}; give each process an engine name (source_id) or a folder of its own"
        raise OutboxUnavailable(str(paths.database), cause) from None
    except OSError as exc:
        raise unavailable(settings.folder, exc) from exc
    try:
        return OutboxFile(
            paths,
            lock,
            clock=clock,
            power_safe=settings.power_safe,
            max_bytes=settings.max_bytes,
            max_age=settings.max_age,
            keep_sent=settings.ack is not None,
        )
    except BaseException as exc:
        lock.release()
        if isinstance(exc, sqlite3.Error | OSError):
            raise unavailable(paths.database, exc) from exc
        raise


def _not_newer(paths: OutboxPaths) -> OutboxPaths:
    # a damaged file is replaced when it is opened
    with contextlib.suppress(sqlite3.Error):
        if version := newer_version(paths.database, KIND):
            beside = paths.beside(KIND.version)
            _log.warning(
                "outbox %s is of version %d, and this Cascade writes %d: events are kept beside it, in %s",
                paths.database, version, KIND.version, beside.database.name,
            )  # fmt: skip
            return beside
    return paths


def unavailable(where: object, error: BaseException) -> OutboxUnavailable:
    """Return what tells users of an error, with its cause."""
    return error if isinstance(error, OutboxUnavailable) else OutboxUnavailable(str(where), cause_of(error))


class FileThread:
    """The file of one sender, as its event loop sees it; no call waits. While the disk fails, calls are posted again.

    :param written: called when messages are stored, with how many others the file's bounds dropped.
    :param on_works: called when the disk works again.
    :param on_fails: called with each call that fails.
    """

    def __init__(
        self,
        settings: OutboxSettings,
        source: str,
        clock: Clock,
        *,
        written: Callable[[int], None],
        on_works: Callable[[], None],
        on_fails: Callable[[], None],
    ) -> None:
        self._written = written
        # What became of messages, until it is written.
        self._done: list[int] = []  # to be deleted
        # To be kept until a collector has acknowledged them.
        self._sent: deque[QueuedMessage] = deque(maxlen=CAPACITY)
        self._aside: deque[QueuedMessage] = deque(maxlen=MAX_ASIDE)
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

    def taken(self, message: QueuedMessage) -> None:
        """Note that a stored message was sent: it is deleted."""
        self._done.append(message.number)

    def sent(self, message: QueuedMessage) -> None:
        """Note that a message was sent, and must be kept until a collector has acknowledged it."""
        self._sent.append(message)

    def aside(self, message: QueuedMessage) -> None:
        """Note that no further try would send a message."""
        self._aside.append(message)

    def settle(self) -> None:
        """Write what became of messages."""
        if self._done:
            numbers, self._done = self._done, []
            self.post(lambda file: file.delete(numbers))
        for messages, state in ((self._sent, State.SENT), (self._aside, State.ASIDE)):
            if messages:
                rows = [message.row for message in messages]
                unsafe = [message for message in messages if message.on_safe]
                messages.clear()
                self.post(partial(_write_rows, rows, state), partial(_note_safe, unsafe))

    def write(self, messages: Sequence[QueuedMessage]) -> None:
        """Store messages that wait."""
        if messages:
            for message in messages:
                message.posted = True
            rows = [message.row for message in messages]
            self.post(lambda file: file.write(rows, State.WAITS), partial(self._stored, messages))

    def read(self, first: int, last: int, done: Done) -> None:
        """Read the first messages of a range; ``done`` gets the rows."""
        self.settle()
        self.post(lambda file: file.page(first, last, PAGE), done)

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

    async def reached(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until everything posted before has been tried."""
        # the disk fails; a forked child
        with contextlib.suppress(OutboxUnavailable, RuntimeError):
            await self.ask(ignore, timeout)

    def stop(self) -> asyncio.Future[None] | None:
        """Begin to close the file behind what was posted; return the future of that, None if there is nothing to do."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            return self._commit.stop()
        except RuntimeError:  # it has begun, or this is a forked child
            return None

    def _stored(self, messages: Sequence[QueuedMessage], dropped: int) -> None:
        for message in messages:
            message.stored = True
            message.safe()
        self._written(dropped)

    def _answered(self, apply: Apply, done: Done, has_failed: bool, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            if has_failed:  # a full disk can be read all the time
                self._state.works("disk", "outbox %s can be written again", self._folder)
            done(future.result())
            return
        cause = unavailable(self._folder, error)
        self._state.failed("disk", "%s; events wait in memory only, and it is tried again", cause)
        self._fault = error
        if not self._stopped:
            self._again.append((apply, done))
            self._timer = self._timer or self._loop.call_later(RETRY_DISK, self.try_again)
        self._on_fails()


def _noted(future: asyncio.Future[Any]) -> None:
    """Have asyncio not log an error that nothing waits for now."""
    if not future.cancelled():
        future.exception()


def _note_safe(messages: list[QueuedMessage], written: Any) -> None:
    for message in messages:
        message.safe()


def _write_rows(rows: list[Row], state: State, file: OutboxFile) -> None:
    file.write(rows, state)
