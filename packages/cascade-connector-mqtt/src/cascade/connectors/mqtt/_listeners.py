"""Who listens: a callback with its queue and its task, or one ordered stream of raw messages."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from cascade.connectors.mqtt._turns import TurnBudget
from cascade.interfaces.protocols import MessageCallback
from cascade.interfaces.stream import Linked, Lost, Message, WatchItem
from cascade.interfaces.wire import UndecodableMessageError, decode_payload

log = logging.getLogger("cascade.connectors.mqtt")

OVERFLOW = "queue full"
UNDECODABLE = "undecodable"
LEFT = "waiting at disconnect"
FAILED = "failed"

CALLBACK_MESSAGES = 1_000
WATCH_MESSAGES = 65_536
WATCH_BYTES = 32 * 1024 * 1024
_PATIENCE = 0.5
_QUIET = 60.0
"""Seconds for which nothing more is said of a trouble that comes and goes."""

calling: ContextVar[asyncio.Task[Any] | None] = ContextVar("calling", default=None)
"""The task that makes the call that this code runs in, also in tasks that the callback has begun."""


class Counts:
    """What came in, for all listeners together."""

    def __init__(self) -> None:
        self.received = 0
        self.delivered = 0
        self.discarded: Counter[str] = Counter()


class Incoming:
    """One message that arrived, decoded when the first listener asks for it."""

    __slots__ = ("_data", "_problem", "expires_in", "payload", "retain", "topic")

    def __init__(self, topic: str, payload: bytes, retain: bool, expires_in: float | None) -> None:
        self.topic = topic
        self.payload = payload
        self.retain = retain
        self.expires_in = expires_in
        self._data: dict[str, Any] | None = None
        self._problem: UndecodableMessageError | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The JSON object.

        :raises UndecodableMessageError: if the payload is none.
        """
        if self._problem is not None:
            raise self._problem
        if self._data is None:
            try:
                self._data = decode_payload(self.payload)
            except UndecodableMessageError as exc:
                self._problem = exc
                raise
        return self._data


class CallbackListener:
    """One callback, its queue, and the task that calls it."""

    def __init__(self, topic_filter: str, callback: MessageCallback, qos: int, counts: Counts) -> None:
        self.filter = topic_filter
        self.filters = {topic_filter: qos}
        self._callback = callback
        self._counts = counts
        self._queue: deque[tuple[str, dict[str, Any]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._calling = False
        self._ended = False
        self._last_call = False
        self._troubles: dict[str, float] = {}

    def begin(self) -> None:
        """Forget a call, or a wait for one, that the loop of an earlier session was closed over."""
        if (worker := self._worker) is not None and worker.get_loop().is_closed():
            with contextlib.suppress(RuntimeError):  # a callback that would go on
                worker.get_coro().close()
            self._worker = self._waiter = None

    def offer(self, message: Incoming) -> None:
        """Queue a message for the callback; give up the oldest when there are too many."""
        try:
            data = message.data
        except UndecodableMessageError as exc:
            self._discard(UNDECODABLE, f"{message.topic} has a payload that is skipped: {exc}")
            return
        if len(self._queue) >= CALLBACK_MESSAGES:
            self._queue.popleft()
            self._discard(OVERFLOW, "its callback is too slow; the oldest messages are dropped")
        self._queue.append((message.topic, dict(data)))
        self._wake()

    @property
    def busy(self) -> bool:
        """Whether a call is in progress."""
        return self._calling

    def end(self) -> None:
        """Begin no further call; one in progress goes on."""
        self._ended = True
        self._queue.clear()
        if self._worker is not None:
            self._wake()

    async def stop(self, spare: asyncio.Task[Any] | None = None) -> None:
        """End the call in progress, if there is one, and forget what waits.

        :param spare: if this task makes the call, let it end by itself.
        """
        if self._queue:
            self._counts.discarded[LEFT] += len(self._queue)
            self._queue.clear()
        worker = self._worker
        if worker is None:
            return
        if worker is spare and self._calling:
            self._last_call = True
            return
        worker.cancel()
        _, stubborn = await asyncio.wait({worker}, timeout=_PATIENCE)
        if stubborn:
            log.warning(
                "the callback for %s does not end when it is cancelled; it is left behind", self.filter
            )

    def _wake(self) -> None:
        if self._worker is None:
            name = f"cascade-mqtt-callback {self.filter}"
            self._worker = asyncio.get_running_loop().create_task(self._work(), name=name)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _work(self) -> None:
        calling.set(asyncio.current_task())
        try:
            budget = TurnBudget()
            while not self._ended:
                if not self._queue:
                    if self._last_call:
                        return
                    await self._wait()
                    continue
                self._last_call = False  # what is queued after stop() belongs to another session
                await self._call(*self._queue.popleft())
                if budget.spent():
                    await asyncio.sleep(0)
        finally:
            self._worker = None
            self._last_call = False

    async def _wait(self) -> None:
        self._recover(OVERFLOW)
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    async def _call(self, topic: str, data: dict[str, Any]) -> None:
        self._counts.delivered += 1
        self._calling = True
        try:
            made = self._callback(topic, data)
            if inspect.isawaitable(made):
                await made
        except asyncio.CancelledError:
            if _being_cancelled():
                raise
            self._trouble(FAILED, "its callback was cancelled from within")
        except Exception as exc:
            self._trouble(FAILED, f"its callback raised {exc!r}", exc)
        else:
            self._recover(FAILED)
        finally:
            self._calling = False

    def _discard(self, reason: str, text: str) -> None:
        self._counts.discarded[reason] += 1
        self._trouble(reason, text)

    def _trouble(self, kind: str, text: str, exc: Exception | None = None) -> None:
        if kind not in self._troubles:
            self._troubles[kind] = time.monotonic() + _QUIET
            log.warning("subscription to %s: %s", self.filter, text, exc_info=exc)

    def _recover(self, kind: str) -> None:
        if kind in self._troubles and time.monotonic() >= self._troubles[kind]:
            del self._troubles[kind]


class WatchListener:
    """One ordered stream over several filters, undecoded."""

    def __init__(self, filters: Iterable[str], counts: Counts) -> None:
        self.filters = dict.fromkeys(filters, 0)
        self._counts = counts
        self._queue: deque[WatchItem] = deque()
        self._bytes = 0
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Forget a wait that the loop of an earlier session was closed over."""
        if self._waiter is not None and self._waiter.get_loop().is_closed():
            self._waiter = None

    def offer(self, message: Incoming) -> None:
        """Queue a message; on overflow the oldest items make room and ``Lost`` takes their place."""
        self._bytes += len(message.payload) + len(message.topic)
        self._put(Message(message.topic, message.payload, message.retain, message.expires_in))

    def tell(self, item: Linked | Lost) -> None:
        """Queue what happened to the link."""
        self._put(item)

    def end(self) -> None:
        """Forget what waits; whoever waits for an item learns that there is none."""
        self._ended = True
        self._queue.clear()
        self._bytes = 0
        self._wake()

    async def next(self) -> WatchItem | None:
        """Wait for the next item; None when there will be none."""
        while not self._queue:
            if self._ended:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        item = self._queue.popleft()
        if isinstance(item, Message):
            self._bytes -= len(item.payload) + len(item.topic)
            self._counts.delivered += 1
        return item

    def _put(self, item: WatchItem) -> None:
        self._queue.append(item)
        if len(self._queue) > WATCH_MESSAGES or self._bytes > WATCH_BYTES:
            self._make_room()
        self._wake()

    def _make_room(self) -> None:
        while len(self._queue) >= WATCH_MESSAGES or self._bytes > WATCH_BYTES:
            item = self._queue.popleft()
            if isinstance(item, Message):
                self._bytes -= len(item.payload) + len(item.topic)
                self._counts.discarded[OVERFLOW] += 1
        self._queue.appendleft(Lost(OVERFLOW))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


Listener = CallbackListener | WatchListener


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
