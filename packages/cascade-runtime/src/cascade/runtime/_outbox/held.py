"""The open sender of one connector; after its last user has left, it stays open while messages of it wait."""

from __future__ import annotations

from collections.abc import Callable

from cascade.interfaces import SupportsDelivery, SupportsLink, supports
from cascade.runtime._outbox.acknowledgements import Acknowledgements
from cascade.runtime._outbox.adoption import Adoption
from cascade.runtime._outbox.disk import CLOSE_TIMEOUT
from cascade.runtime._outbox.file import OutboxFile
from cascade.runtime._outbox.queue import DurableQueue
from cascade.transport.fork import inert_in_children


class Held:
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
        self.queue.on_change = self._look
        if self.acknowledgements is not None:
            self.acknowledgements.on_change = self._look
        if supports(self.connector, SupportsLink):
            self._forget = self.connector.before_disconnect(self._leave)
        self._look()
        if self.acknowledgements is not None:
            until = self.queue.loop.time() + CLOSE_TIMEOUT
            await self.queue.reached(CLOSE_TIMEOUT)
            if not (self._staying or self.users):
                await self.close(max(0.0, until - self.queue.loop.time()))

    def go_on(self) -> None:
        """Do not end: it has a user again."""
        self._ended = None
        self.queue.on_change = None
        self.queue.go_on()
        if self.acknowledgements is not None:
            self.acknowledgements.on_change = None
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
        self._look()

    def _look(self) -> None:
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
