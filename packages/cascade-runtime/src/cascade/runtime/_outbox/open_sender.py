"""The open sender of one connector, and the messages of dead senders that it adopts.

After its last user has left, a sender stays open while messages of it wait. The files of dead processes are in the same folder, and nothing has
locked them.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator

from cascade.interfaces import OutboxUnavailable, SupportsDelivery, SupportsLink, supports
from cascade.interfaces.logs import get_logger
from cascade.runtime._outbox.collector_acks import Acknowledgements
from cascade.runtime._outbox.file import OutboxFile, OutboxPaths, Stored, delete_files
from cascade.runtime._outbox.listing import summary
from cascade.runtime._outbox.queue import DurableQueue, nothing
from cascade.runtime._outbox.schema import KIND
from cascade.runtime._storage import database, process_lock
from cascade.runtime._storage.database import cause_of
from cascade.runtime._storage.process_lock import LockedError, ProcessLock
from cascade.transport.event_loop import inert_in_children

_log = get_logger("cascade.outbox")

CLOSE_TIMEOUT = 5.0
"""Seconds for which closing waits for the disk."""
SLICE = 1_000
"""Messages that one commit takes over."""


class OpenSender:
    """A queue, the acknowledgements that it follows, and how many use them. For one event loop."""

    def __init__(
        self,
        connector: SupportsDelivery,
        queue: DurableQueue,
        acknowledgements: Acknowledgements | None,
        adoption: Adoption | None,
    ) -> None:
        self.connector = connector
        self.queue = queue
        self.acknowledgements = acknowledgements
        self.adoption = adoption
        self.users = 0
        self.on_closed: Callable[[], None] | None = None
        """Called when its file is closed."""
        self._ended: Callable[[], None] | None = None
        self._forget: Callable[[], None] | None = None
        self._leaving = self._asking = False
        self.inert = False
        """Whether this is a forked child's copy."""
        inert_in_children(self)

    def become_inert(self) -> None:
        """Neither send nor write nor close the file, in a forked child: its parent does all three."""
        self.inert = True
        for forget in (self._ended, self.on_closed):
            if forget is not None:
                forget()
        self._ended = self._forget = self.on_closed = None
        self.queue.become_inert()
        if self.acknowledgements is not None:
            self.acknowledgements.become_inert()

    async def left(self, timeout: float) -> int:
        """Return how many messages wait on disk that this can send.

        :raises OutboxUnavailable: if the disk fails, or takes longer than ``timeout`` seconds.
        """
        count = OutboxFile.unsettled if self.adoption is None else self.adoption.left
        return int(await self.queue.ask(count, timeout))

    @property
    def needed(self) -> bool:
        """Whether something may wait that the connector, which stays connected, can still send."""
        return self._connected and (self.acknowledgements is not None or not self.queue.idle)

    @property
    def _staying(self) -> bool:
        return self._ended is not None

    @property
    def _connected(self) -> bool:
        connector = self.connector
        return supports(connector, SupportsLink) and connector.connected

    async def stay(self, ended: Callable[[], None]) -> None:
        """Stay open until everything is settled and acknowledged, or the connector is disconnected.

        Return at once, or when the disk has answered, which takes a few seconds at most: a file that has nothing left is closed then.

        :param ended: called when it closes; not if :meth:`go_on` was called before.
        """
        self._ended = ended
        self._leaving = self._asking = False
        self.queue.on_change = self._end_if_done
        if supports(self.connector, SupportsLink):
            self._forget = self.connector.before_disconnect(self._leave)
        self._end_if_done()
        if self.acknowledgements is not None:
            until = self.queue.loop.time() + CLOSE_TIMEOUT
            await self.queue.reached(CLOSE_TIMEOUT)
            if not (self._staying or self.users):
                await self.close(max(0.0, until - self.queue.loop.time()))

    def go_on(self) -> None:
        """Do not end: it has a user again."""
        self._ended = None
        self.queue.on_change = nothing
        self.queue.go_on()
        if self._forget is not None:
            self._forget()
            self._forget = None

    def end(self) -> None:
        """Begin to close everything."""
        ended = self._ended
        self.go_on()
        if ended is not None:
            ended()
        if self.acknowledgements is not None:
            self.acknowledgements.stop()
        stopped = self.queue.stop()
        if stopped is not None:
            stopped.add_done_callback(self._closed)

    async def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close everything; wait ``timeout`` seconds for it at most."""
        self.end()
        until = self.queue.loop.time() + timeout
        await self.queue.closed(timeout)
        if self.acknowledgements is not None:
            await self.acknowledgements.stopped(max(0.0, until - self.queue.loop.time()))

    def _closed(self, stopped: object) -> None:
        if self.on_closed is not None:
            self.on_closed()

    def _leave(self) -> None:
        """Note that the connector disconnects: what it has in hand may still be sent, and the rest stays in the file."""
        self._leaving = True
        self.queue.rest()
        self._end_if_done()

    def _end_if_done(self) -> None:
        """End if there is nothing to stay for."""
        if not self._staying:
            return
        if self._leaving or not self._connected:
            if not self.queue.in_hand:
                self.end()
        elif self.queue.idle and not self._asking:
            if self.acknowledgements is None:
                self.end()
            else:
                self._asking = True
                self.queue.call(OutboxFile.is_settled, self._answered)

    def _answered(self, settled: bool) -> None:
        """End if no message waits in the file; otherwise the next acknowledgement asks again."""
        self._asking = False
        if settled and self._staying and self.queue.idle:
            self.end()


class Adoption:
    """Moves the messages of dead senders into the file of a live one, a slice with each call of :meth:`step`.

    What was put aside stays where it is. A slice is deleted from its old file after it was committed to the new one: a process that is killed in
    between sends it twice, with the same ``event_id``. One that could not be committed is taken over by the next call.
    """

    def __init__(self) -> None:
        self._orphans: Iterator[OutboxPaths] | None = None
        self._orphan: _Orphan | None = None

    def step(self, own: OutboxFile) -> Stored | None:
        """Take over some messages within the commit of ``own``; return their numbers, None if there are none left."""
        own.on_close = self.close
        if self._orphans is None:
            self._orphans = iter(OutboxPaths.all(own.paths.database.parent))
        while True:
            if self._orphan is None and not self._open_next(own):
                return None
            assert self._orphan is not None
            try:
                rows = self._orphan.following()
            except sqlite3.Error as exc:
                _log.warning("outbox %s cannot be adopted: %s", self._orphan.paths.database, cause_of(exc))
                rows = []
            if rows:
                own.at_end(self._orphan.adopted)
                return own.adopt(rows)
            self._orphan.close()
            self._orphan = None

    def left(self, own: OutboxFile) -> int:
        """Return how many messages wait in ``own``, and in the files that no other live process uses."""
        found = map(summary, OutboxPaths.all(own.paths.database.parent))
        unused = sum(each.waiting + each.sent for each in found if not each.in_use)
        return own.unsettled() + unused + (0 if self._orphan is None else self._orphan.left())

    def close(self) -> None:
        """Let go of a file that is not finished: the next sender goes on with it."""
        orphan, self._orphan, self._orphans = self._orphan, None, iter(())
        if orphan is not None:
            orphan.close()

    def _open_next(self, own: OutboxFile) -> bool:
        for paths in self._orphans or ():
            if paths != own.paths and (orphan := _open(paths)) is not None:
                self._orphan = orphan
                return True
        return False


class _Orphan:
    """The locked file of a dead sender."""

    def __init__(self, paths: OutboxPaths, lock: ProcessLock, connection: sqlite3.Connection) -> None:
        self.paths = paths
        self._lock = lock
        self._connection = connection
        self._read = 0  # the last message that was read
        self._adopted = 0  # the last message that is committed to the new file

    def following(self) -> list[tuple[object, ...]]:
        """Return the oldest messages that are not adopted."""
        rows = self._connection.execute(
            "SELECT id, topic, payload, qos, stored, event_id, tries, state FROM message WHERE state < 3 AND id > ? ORDER BY id LIMIT ?",
            (self._adopted, SLICE),
        ).fetchall()
        if rows:
            self._read = rows[-1][0]
        return [row[1:] for row in rows]

    def adopted(self, committed: bool) -> None:
        """Delete the messages that were read last, if they are committed to the new file; otherwise they are read again."""
        if committed:
            self._adopted = self._read
            # tried again with the next ones, and at the end
            with contextlib.suppress(sqlite3.Error):
                self._delete_adopted()
        else:
            self._read = self._adopted

    def left(self) -> int:
        """Return how many messages are not read, 0 if the file cannot be read; those that were are in the new file."""
        with contextlib.suppress(sqlite3.Error):
            (count,) = self._connection.execute(
                "SELECT count(*) FROM message WHERE state < 3 AND id > ?", (self._read,)
            ).fetchone()
            return int(count)
        return 0

    def _delete_adopted(self) -> None:
        self._connection.execute("DELETE FROM message WHERE id <= ? AND state < 3", (self._adopted,))

    def close(self) -> None:
        """Close the file, and delete it if no message is left in it."""
        empty = False
        try:
            self._delete_adopted()
            empty = not self._connection.execute("SELECT 1 FROM message LIMIT 1").fetchone()
        except sqlite3.Error as exc:
            _log.warning("messages of outbox %s may be sent twice: %s", self.paths.database, cause_of(exc))
        self._connection.close()
        if empty:
            delete_files(self.paths)
        self._lock.release()


def _open(paths: OutboxPaths) -> _Orphan | None:
    """Lock and open a file; None if its process lives, or if it cannot be used, which is logged."""
    try:
        lock = process_lock.take(paths.lock)
    except (LockedError, OSError):
        return None
    try:
        return _Orphan(paths, lock, database.open_to_write(paths.database, KIND, power_safe=False))
    except (sqlite3.Error, OSError) as exc:
        lock.release()
        cause = exc if isinstance(exc, OutboxUnavailable) else cause_of(exc)
        _log.warning("outbox %s cannot be adopted: %s", paths.database, cause)
        return None
