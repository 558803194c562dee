"""A callback, its queue and the task that calls it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from cascade.interfaces.connector import MessageCallback
from cascade.interfaces.wire import UndecodableMessageError
from cascade.transport.event_loop import LoopBudget
from cascade.transport.incoming.message import OVERFLOW, UNDECODABLE, DeliveryCounts, IncomingMessage
from cascade.transport.state_log import StateLog

FAILED = "failed"

CALLBACK_MESSAGES = 1_000
CANCEL_TIMEOUT = 0.5
"""Seconds that a cancelled callback has to end."""
QUIET = 60.0
"""Seconds for which a failure that comes and goes is not logged again."""

calling_task: ContextVar[asyncio.Task[Any] | None] = ContextVar("calling_task", default=None)
"""The task that calls the callback in which this code runs; tasks that the callback starts inherit it."""


class CallbackQueue:
    """Calls one callback for one message at a time, in order. Its task starts with the first message.

    When the queue is full the oldest message is discarded and counted. What the callback raises
    is logged and affects no other callback.
    """

    def __init__(
        self, topic_filter: str, callback: MessageCallback, qos: int, delivery: DeliveryCounts
    ) -> None:
        self.filter = topic_filter
        self.filters = {topic_filter: qos}
        self._callback = callback
        self._delivery = delivery
        self._queue: deque[tuple[str, dict[str, Any]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._idle: asyncio.Future[None] | None = None
        self._calling = False
        self._ended = False
        self._last_call = False
        self._state = StateLog(delivery.log, quiet=QUIET if delivery.quiet is None else delivery.quiet)

    def begin(self) -> None:
        """Forget the task of an earlier session if its event loop was closed."""
        if (worker := self._worker) is not None and worker.get_loop().is_closed():
            # a callback that ignores GeneratorExit
            with contextlib.suppress(RuntimeError):
                worker.get_coro().close()
            self._worker = self._waiter = self._idle = None

    def offer(self, message: IncomingMessage) -> None:
        """Queue a message for the callback; when the queue is full, discard the oldest."""
        if self._ended:
            return
        try:
            data = message.data
        except UndecodableMessageError as exc:
            self._delivery.discarded[UNDECODABLE] += 1
            self._failed(UNDECODABLE, f"messages on {message.topic} are discarded: {exc}")
            return
        self._state.works(UNDECODABLE)
        if len(self._queue) >= (self._delivery.most or CALLBACK_MESSAGES):
            self._queue.popleft()
            self.missed(1)
        self._queue.append((message.topic, dict(data)))
        self._wake()

    def missed(self, count: int) -> None:
        """Count messages that were discarded because the callback is too slow."""
        self._delivery.discarded[OVERFLOW] += count
        self._failed(OVERFLOW, "the callback is too slow; the oldest messages are dropped")

    @property
    def busy(self) -> bool:
        """Whether a call is in progress."""
        return self._calling

    def end(self) -> None:
        """Make no further call; a call in progress continues."""
        self._ended = True
        self._queue.clear()
        if self._worker is not None:
            self._wake()

    async def idle(self, *, skip: asyncio.Task[Any] | None = None) -> None:
        """Wait until the callback has returned from its call for every queued message.

        :param skip: if this task makes the calls, do not wait: it would wait for itself.
        """
        while self._worker not in (None, skip) and (self._queue or self._calling):
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    async def stop(self, *, skip: asyncio.Task[Any] | None = None, reason: str) -> None:
        """Cancel the call in progress, if there is one, and discard what is queued.

        :param skip: if this task makes the call, it is not cancelled: it ends after the call.
        :param reason: the key under which discarded messages are counted.
        """
        if self._queue:
            self._delivery.discarded[reason] += len(self._queue)
            self._queue.clear()
        worker = self._worker
        if worker is None:
            return
        if worker is skip and self._calling:
            self._last_call = True
            return
        worker.cancel()
        _, still_running = await asyncio.wait({worker}, timeout=CANCEL_TIMEOUT)
        if still_running:
            self._delivery.log.warning(
                "the callback for %s ignores its cancellation and is abandoned", self.filter
            )

    def _wake(self) -> None:
        if self._worker is None:
            name = f"cascade-callback {self.filter}"
            self._worker = asyncio.get_running_loop().create_task(self._work(), name=name)
            self._worker.add_done_callback(self._worker_ended)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _work(self) -> None:
        calling_task.set(asyncio.current_task())
        budget = LoopBudget()
        while not self._ended:
            if not self._queue:
                if self._last_call:
                    return
                await self._wait()
                continue
            # a message queued after stop() belongs to the next session
            self._last_call = False
            await self._call(*self._queue.popleft())
            if budget.spent():
                await asyncio.sleep(0)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        """Do here what a ``finally`` would not do for a task that is cancelled before its first step."""
        if worker is self._worker:
            self._worker = None
            self._last_call = False
            self._notify_idle()
            if self._queue and not self._ended:
                self._wake()

    async def _wait(self) -> None:
        self._state.works(OVERFLOW)
        self._notify_idle()
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _notify_idle(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None and not idle.done():
            idle.set_result(None)

    async def _call(self, topic: str, data: dict[str, Any]) -> None:
        self._delivery.delivered += 1
        self._calling = True
        try:
            result = self._callback(topic, data)
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError:
            if _is_being_cancelled():
                raise
            self._failed(FAILED, "the callback raised CancelledError; other ones go on")
        except Exception as exc:
            self._failed(FAILED, f"the callback raised {exc!r}; other ones go on", exc)
        else:
            self._state.works(FAILED)
        finally:
            self._calling = False

    def _failed(self, kind: str, text: str, exc: Exception | None = None) -> None:
        self._state.failed(kind, "subscription to %s: %s", self.filter, text, exc_info=exc)


class RawQueue(CallbackQueue):
    """Passes each message undecoded, at once, to a function of the connector itself; it has no queue.

    :param receive: must return quickly and not raise.
    """

    def __init__(
        self,
        topic_filter: str,
        receive: Callable[[IncomingMessage], None],
        qos: int,
        delivery: DeliveryCounts,
    ) -> None:
        super().__init__(topic_filter, _never_called, qos, delivery)
        self._receive = receive

    def offer(self, message: IncomingMessage) -> None:
        """Pass the message on."""
        self._receive(message)


async def _never_called(topic: str, data: dict[str, Any]) -> None:
    """Stand in for the callback of a queue that has none."""


class CallbackSubscription:
    """What ``subscribe`` returns: one callback's registration with a connector."""

    def __init__(self, queue: CallbackQueue, unsubscribe: Callable[[CallbackQueue], Awaitable[None]]) -> None:
        self._queue = queue
        self._unsubscribe = unsubscribe

    async def unsubscribe(self) -> None:
        """End the registration: no call starts after this returns. Idempotent."""
        await self._unsubscribe(self._queue)

    def __repr__(self) -> str:
        return f"<CallbackSubscription {self._queue.filter}>"


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
