"""The tasks that send what waits, over one link: one message each, more of them on a distant link."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from cascade.transport.event_loop import LoopBudget
from cascade.transport.faults import LinkLost, MessageRejected, MessageTooLarge
from cascade.transport.outbox import NOT_ALLOWED, REFUSED, TOO_LARGE, Outbox, Outgoing
from cascade.transport.state_log import StateLog

STEADY_AFTER = 1.0
"""Seconds for which a link must have held before a message is sent that broke another link."""


FIRST_SENDERS = 20
GROWTH_INTERVAL = 0.005
"""Seconds in which each sender must have sent a message; otherwise the round trip delays what waits."""
NEAR_FOR = 10.0
"""Seconds after an answer within ``GROWTH_INTERVAL`` for which the peer counts as near."""
NEAR_SENDERS = 80
"""The most senders for a near peer: what is late then is late because a machine is busy, and each message in flight
keeps about 20 objects that the garbage collector walks."""
BUSY = 0.005
"""Seconds of CPU time in a measurement that show a busy loop: then answers wait to be read, and tasks go first."""
_LATER = 3
"""Iterations of the event loop that must pass as well: on a busy loop a near peer's answers wait to be read."""


class Senders:
    """Empty the outbox while they are ``open``. One object for each link.

    There may be ``FIRST_SENDERS`` at first, and each but the first begins when a message needs it. While messages wait
    and the round trip to a distant peer delays them, that number doubles, up to ``limit``; for a near peer up to
    ``NEAR_SENDERS``, on a busy loop not at all. If the outbox is half full, it doubles in any case. Once the program
    waits for the outbox, there may be as many as for a near peer.

    :param send: sends one message and returns when the peer has it, or writes it and returns None; raises
        ``LinkLost`` if the link is down, ``MessageRejected`` if the peer rejects the message, ``MessageTooLarge``
        if it would, anything else if the client does.
    :param limit: how many messages may be in flight.
    :param create_task: starts a task, given a coroutine and a name; the task ends with the link.
    :param fail: called when ``send`` raised ``LinkLost``.
    :param on_settled: called after each message that was sent or dropped.
    """

    def __init__(
        self,
        send: Callable[[Outgoing], Awaitable[object] | None],
        outbox: Outbox,
        *,
        limit: int,
        create_task: Callable[[Coroutine[Any, Any, None], str], object],
        log: logging.Logger,
        fail: Callable[[LinkLost], None],
        on_settled: Callable[[], None],
    ) -> None:
        self.open = False
        self.limit = limit
        self.count = 0
        """How many senders there may be, and so how many messages are in flight at most."""
        self._begun = 0  # of these
        self._steady = False
        self._woken = False  # a sender was woken and did not run yet
        # the latest message needs no answer: one sender sends all that waits
        self._instant = False
        # the client has refused a message, and taken none since
        self._refusing = False
        self._timer: asyncio.TimerHandle | None = None
        self._measurement = _Measurement(asyncio.get_running_loop(), outbox)
        self._send = send
        self._outbox = outbox
        self._create_task = create_task
        self._fail = fail
        self._on_settled = on_settled
        self._loop = asyncio.get_running_loop()
        self._budget = LoopBudget()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._state = StateLog(log)

    def start(self) -> None:
        """Begin to send: the link is up."""
        self.open = True
        self._timer = self._loop.call_later(STEADY_AFTER, self._become_steady)
        self._permit(min(FIRST_SENDERS, self.limit), at_least=1)

    def stop(self) -> None:
        """Start to send no further message. Idempotent."""
        self.open = False
        self._measurement.cancel()
        if self._timer is not None:
            self._timer.cancel()

    def wake(self) -> None:
        """Have one more sender look for a message to send; if all of them are busy, measure the round trip."""
        if self._woken and self._instant:
            return
        while self._idle:
            sleeper = self._idle.popleft()
            if not sleeper.done():
                sleeper.set_result(None)
                self._woken = True
                return
        if self._begun < self.count:
            self._begin()
        elif self._measurement.handle is None and self.open and self.count < self.limit:
            self._measurement.begin(self._grow)

    def hurry(self) -> None:
        """Use as many senders as for a near peer: the program waits until everything is sent.

        With few messages in flight, the peer and this loop would wait for each other in turn.
        """
        wanted = min(NEAR_SENDERS, self.limit, self._outbox.pending)
        if self.open and not self._instant and wanted > self.count:
            self._permit(wanted)

    def note_answer(self, began: float) -> None:
        """Note that the peer has answered now to what left at ``began`` on the loop's clock."""
        self._measurement.note_answer(began)

    async def _run(self) -> None:
        """Send one message at a time, until the senders are stopped or the link is lost.

        Without an answer to wait for, one sender is as fast as many.
        """
        outbox, budget = self._outbox, self._budget
        self._woken = False
        while self.open:
            item = outbox.take(steady=self._steady)
            if item is None:
                await self._sleep()
                continue
            # A network without retained messages of its own acknowledges those, too.
            self._instant = not (item.qos or item.retain)
            began = 0.0 if self._instant else self._begin_to_wait()
            try:
                if (sending := self._send(item)) is not None:
                    await sending
            except LinkLost as exc:
                self._fail(exc)
                # the message stays in flight; the code that ends the link restores it
                return
            except Exception as exc:
                self._give_up(item, exc)
            else:
                outbox.land(item)
                if item.qos or self._refusing:
                    self._note_sent(item, began)
            self._on_settled()
            if budget.spent():
                await asyncio.sleep(0)

    def _note_sent(self, item: Outgoing, began: float) -> None:
        # Without QoS, no answer is awaited.
        if item.qos:
            self._measurement.note_answer(began)
        if self._refusing:
            self._refusing = False
            self._state.works(REFUSED)

    def _give_up(self, item: Outgoing, exc: Exception) -> None:
        """Drop a message that the client or the peer does not take, and log the first one of each kind."""
        if isinstance(exc, MessageRejected):
            self._outbox.give_up(item, NOT_ALLOWED)
            self.log_rejection(exc, item.topic)
        elif isinstance(exc, MessageTooLarge):
            self._outbox.give_up(item, TOO_LARGE)
            self._state.failed(TOO_LARGE, "a message for %s is dropped: %s", item.topic, exc)
        else:
            self._outbox.give_up(item, REFUSED)
            self._refusing = True
            self._state.failed(REFUSED, "a message for %s cannot be sent and is dropped: %r", item.topic, exc)

    def _begin_to_wait(self) -> float:
        """Have another sender go on while this one waits for its answer; return the time on the loop's clock."""
        if (self._idle or self._measurement.handle is None) and self._outbox.waiting:
            self.wake()
        return self._loop.time()

    def log_rejection(self, exc: MessageRejected, topic: str) -> None:
        """Log that the peer rejects messages: once for each link."""
        self._state.failed(
            NOT_ALLOWED,
            "the broker rejects messages (code %d) and they are lost, the first for %s; check its access list; cascade acl prints the rules of an engine",
            exc.code,
            topic,
        )

    def _become_steady(self) -> None:
        self._steady = True
        self.wake()

    def _permit(self, count: int, *, at_least: int = 0) -> None:
        self.count = count
        self._begin(at_least)

    def _begin(self, at_least: int = 0) -> None:
        """Begin a sender for each message that has none; those that ran before look for their next one by themselves."""
        if not self.open:
            return
        for number in range(self._begun, min(self.count, max(at_least, self._outbox.pending))):
            self._create_task(self._run(), f"cascade-sender {number}")
            self._begun += 1
            self._woken = True

    def _grow(self) -> None:
        """Double the number of senders if all of them wait for the peer, and messages wait for them."""
        if self._idle or not self._outbox.waiting:
            return
        if self._measurement.settled < self.count:
            wanted = self._measurement.most(self.count, self.limit)
            self._permit(max(self.count, min(2 * self.count, wanted)))
        self.wake()  # measure again

    async def _sleep(self) -> None:
        sleeper = self._loop.create_future()
        self._idle.append(sleeper)
        await sleeper
        self._woken = False


class _Measurement:
    """Measures how many messages the peer takes in ``GROWTH_INTERVAL`` while senders wait for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, outbox: Outbox) -> None:
        self.handle: asyncio.Handle | None = None
        """Of the measurement that goes on."""
        self._loop = loop
        self._outbox = outbox
        self._near_until = 0.0  # on the loop's clock
        self._settled = 0
        self._since = 0.0  # in CPU time of the loop's thread

    @property
    def settled(self) -> int:
        """Messages sent or dropped since the measurement began."""
        return self._outbox.settled - self._settled

    def begin(self, measured: Callable[[], None]) -> None:
        """Call ``measured`` at the end of the interval, a few iterations of the loop later."""
        self._settled = self._outbox.settled
        self._since = time.thread_time()
        self.handle = self._loop.call_later(GROWTH_INTERVAL, self._end, measured, _LATER)

    def cancel(self) -> None:
        """Measure no longer. Idempotent."""
        if self.handle is not None:
            self.handle.cancel()

    def note_answer(self, began: float) -> None:
        """Note that the peer has answered now to what left at ``began`` on the loop's clock."""
        now = self._loop.time()
        if now - began < GROWTH_INTERVAL:
            self._near_until = now + NEAR_FOR

    def most(self, count: int, limit: int) -> int:
        """Return how many senders there may be, after this measurement of ``count`` of them."""
        if self._outbox.half_full:
            return limit
        if time.thread_time() - self._since > BUSY:
            return count
        return min(limit, NEAR_SENDERS) if self._loop.time() < self._near_until else limit

    def _end(self, measured: Callable[[], None], iterations: int) -> None:
        if iterations:
            self.handle = self._loop.call_soon(self._end, measured, iterations - 1)
            return
        self.handle = None
        measured()
