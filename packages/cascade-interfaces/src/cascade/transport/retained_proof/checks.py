"""The checks of one watch on one link: send what its retained set asks for, in order and in time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from cascade.interfaces.watch import Complete, Linked, Lost
from cascade.transport.event_loop import AutoResetEvent
from cascade.transport.incoming.watches import REFUSED, WatchQueue
from cascade.transport.retained_proof.retained_set import (
    Action,
    Publish,
    RetainedSet,
    Subscribe,
    Unproved,
    Unsubscribe,
)


class CheckPackets(Protocol):
    """The packets of a check. Each method returns when the broker has answered, or the link is lost."""

    async def left(self, filters: Sequence[str]) -> None:
        """Wait until no UNSUBSCRIBE of these filters is unanswered."""
        ...

    async def subscribe(self, filters: Sequence[str]) -> Sequence[str] | None:
        """Subscribe at QoS 0 in one packet; return the filters that the broker refused.

        Return None without an answer, or if the watch was closed before the packet was sent.
        """
        ...

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Unsubscribe from those filters that nothing else of the connector needs."""
        ...

    async def publish(self, topic: str, payload: dict[str, str], *, retain: bool) -> None:
        """Publish at QoS 0 on this link, or not at all."""
        ...


class RetainedChecks:
    """Drives the retained set of a watch on one link, from :meth:`run` until that is cancelled.

    :param lock: held during a check: watches that share a canary must not check at the same time.
    :param report: called with ``Unproved`` when the set cannot be proved, and with each ``Complete``.
    """

    def __init__(
        self,
        queue: WatchQueue,
        retained: RetainedSet,
        packets: CheckPackets,
        *,
        lock: asyncio.Lock,
        report: Callable[[Unproved | Complete], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue = queue
        self._retained = retained
        self._packets = packets
        self._lock = lock
        self._report = report
        self._waiting: deque[Subscribe | Unsubscribe | Publish] = deque()
        self._wakeup = AutoResetEvent()
        self._wanted = True
        self._granted: bool | None = None
        self.subscribed: asyncio.Future[None] = self._loop.create_future()
        """Done when the broker has answered the first SUBSCRIBE, or the link is lost."""
        queue.watch_link = self
        queue.hold()

    async def run(self) -> None:
        """Check at once, from time to time, and when asked to."""
        try:
            # the messages need not wait until another watch has checked
            if self._lock.locked():
                await self._send(Subscribe((*self._retained.wanted,)))
            while not self._queue.ended:
                async with self._lock:
                    self._wanted = False
                    self.do(self._retained.begin(self._loop.time()))
                    await self._serve(lambda: not self._retained.checking)
                await self._serve(self._is_wanted)
        finally:
            self._retained.lost()
            if self._queue.watch_link is self:
                self._queue.watch_link = None
                self._queue.stop_holding()
            if not self.subscribed.done():
                self.subscribed.set_result(None)

    def do(self, actions: Iterable[Action]) -> None:
        """Do what the retained set asks for: packets follow those that wait already."""
        for action in actions:
            if isinstance(action, Complete):
                self._queue.note(action)
                self._report(action)
            elif isinstance(action, Unproved):
                self._report(action)
            else:
                self._waiting.append(action)
        self._wakeup.set()

    def check_again(self) -> None:
        """Begin a check soon."""
        self._wanted = True
        self._wakeup.set()

    def change(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """Subscribe to topics that the watch did not have, and unsubscribe from others."""
        self.do(self._retained.extend(added, self._loop.time()))
        self.do(self._retained.shrink(removed))

    def end(self) -> list[str]:
        """End with the packet that is on its way; return the topics that a recheck has subscribed to."""
        self._waiting.clear()
        self._wakeup.set()
        return [topic for action in self._retained.leave_recheck() for topic in action.filters]

    def _is_wanted(self) -> bool:
        return self._wanted or (not self._retained.checking and self._is_due())

    def _is_due(self) -> bool:
        due = self._retained.due()
        return due is not None and due <= self._loop.time()

    async def _serve(self, until: Callable[[], bool]) -> None:
        """Send what waits, and do what the time asks for during a check."""
        while not self._queue.ended:
            if self._waiting:
                await self._send(self._waiting.popleft())
            elif until():
                return
            elif self._is_due():
                self.do(self._retained.tick(self._loop.time()))
            else:
                await self._wakeup.wait_until(self._retained.due())

    async def _send(self, action: Subscribe | Unsubscribe | Publish) -> None:
        if isinstance(action, Publish):
            await self._packets.publish(action.topic, action.payload, retain=action.retain)
        elif isinstance(action, Unsubscribe):
            await self._packets.unsubscribe(action.filters)
        else:
            await self._subscribe(action.filters)

    async def _subscribe(self, filters: Sequence[str]) -> None:
        """Subscribe, and publish what follows without waiting for the answer: on a distant link that takes long."""
        await self._packets.left(filters)
        self._retained.asked()
        publishing = self._loop.create_task(self._publish_following(), name="cascade-mqtt-nonce")
        try:
            # written before that task begins
            refused = await self._packets.subscribe(filters)
            if refused:
                publishing.cancel()
        except BaseException:
            publishing.cancel()
            raise
        finally:
            # the reader hears of the answer before it gets the messages behind it
            if not publishing.done():
                await asyncio.wait({publishing})
        if refused is not None and not self._queue.ended:
            self._answered(filters, refused)
            self.do(self._retained.answered(self._loop.time()))
        if not self.subscribed.done():
            self.subscribed.set_result(None)

    async def _publish_following(self) -> None:
        while self._waiting and isinstance(self._waiting[0], Publish):
            await self._send(self._waiting.popleft())

    def _answered(self, filters: Sequence[str], refused: Sequence[str]) -> None:
        """Note for the reader whether its filters are granted; a check does not go on with a refused one."""
        if any(each in self._retained.wanted for each in refused):
            self._grant(False)
        elif self._granted is None or self._retained.own_filter in filters:
            # it was about all filters
            self._grant(True)
        if refused:
            self._waiting.clear()
            self._retained.postpone(self._loop.time())

    def _grant(self, granted: bool) -> None:
        if granted is not self._granted:
            self._granted = granted
            self._queue.note(Linked() if granted else Lost(REFUSED))
