"""Read the topics of gates from the broker: one subscription for each, ended while a topic sends too much."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextvars import Context

from cascade.interfaces import Clock, Linked, Lost, Message, SupportsWatch, WatchStream
from cascade.interfaces.gates import IS_REFUSED, MAX_TOPICS
from cascade.runtime._gates.values import NoValue
from cascade.runtime._support.clock import earliest
from cascade.transport.event_loop import LOOP_BUDGET
from cascade.transport.incoming.watches import REFUSED

MAX_RATE = 50.0
"""Values per second, over :data:`FLOOD_WINDOW`, above which a topic is unsubscribed."""
FLOOD_WINDOW = 5.0
FLOOD_PAUSE = 60.0
"""Seconds until a topic that has sent too much is subscribed to again."""
# seconds in which a rate can be told
_SHORTEST = 0.2
_LONGEST_BACKOFF = 60.0

Receive = Callable[[str, bytes, bool], None]
"""Called with a topic, a payload, and whether it is a retained one."""
Lose = Callable[[str, NoValue], None]
"""Called with a topic of which no value can arrive for now, and why."""


class FloodGuard:
    """Counts the values of one topic. No I/O."""

    def __init__(self) -> None:
        self._began = 0.0
        self._count = 0

    def note(self, now: float) -> float:
        """Note a value; return the values per second if that is too many, else 0."""
        if not self._count or now - self._began >= FLOOD_WINDOW:
            self._began, self._count = now, 0
        self._count += 1
        seconds = now - self._began
        is_flood = self._count > MAX_RATE * FLOOD_WINDOW and seconds >= _SHORTEST
        return self._count / seconds if is_flood else 0.0


class _Feed:
    """One topic: its subscription, or when to subscribe again."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.reader: asyncio.Task[None] | None = None
        self.again_at: float | None = None
        self.failures = 0
        self.guard = FloodGuard()
        # a live value is newer than any retained one that the broker sends again on the same link
        self.is_live = False
        self.retained: bytes | None = None
        self.last: bytes | NoValue | None = None
        """What came last: a payload, or why there is none; None: nothing yet."""

    def is_news(self, message: Message) -> bool:
        """Return whether a message says something new: a retained one that comes again does not."""
        if not message.retain:
            self.is_live = True
            return True
        if self.is_live or message.payload == self.retained:
            return False
        self.retained = message.payload
        return True


class GateTopics:
    """Subscribes to topics of the plant, with the engine's rights.

    :param watcher: None if there is no network: then no topic can be read.
    :param context: the readers run in copies of it.
    """

    def __init__(
        self, watcher: SupportsWatch | None, *, clock: Clock, receive: Receive, lose: Lose, context: Context
    ) -> None:
        self._watcher = watcher
        self._clock = clock
        self._receive = receive
        self._lose = lose
        self._context = context
        self._feeds: dict[str, _Feed] = {}
        self._readers: set[asyncio.Task[None]] = set()

    def follow(self, topic: str) -> str:
        """Read a topic from now on; return why that is not possible, or an empty text. Idempotent."""
        if topic in self._feeds:
            return ""
        if len(self._feeds) >= MAX_TOPICS:
            return f"is not read: the gates of this engine read {MAX_TOPICS} topics already"
        feed = self._feeds[topic] = _Feed(topic)
        self._open(feed)
        return ""

    def forget(self, topic: str) -> None:
        """Read a topic no longer."""
        if (feed := self._feeds.pop(topic, None)) is not None:
            self._close(feed)

    def last(self, topic: str) -> bytes | NoValue | None:
        """Return the latest payload of a topic, or why there is none for now; None: nothing has arrived yet."""
        feed = self._feeds.get(topic)
        return feed.last if feed is not None else None

    def due(self) -> float | None:
        """Return when :meth:`tick` has something to do, on the monotonic clock, or None."""
        return earliest(*(feed.again_at for feed in self._feeds.values()))

    def tick(self) -> None:
        """Subscribe again to topics whose pause is over."""
        now = self._clock.monotonic()
        for feed in self._feeds.values():
            if feed.again_at is not None and feed.again_at <= now:
                self._open(feed)

    def end(self) -> None:
        """Read nothing more; cancel the tasks of :meth:`take_readers`."""
        for topic in [*self._feeds]:
            self.forget(topic)

    def take_readers(self) -> list[asyncio.Task[None]]:
        """Return the asyncio tasks that still end their subscriptions."""
        return [*self._readers]

    def _open(self, feed: _Feed) -> None:
        feed.again_at, feed.guard, feed.is_live = None, FloodGuard(), False
        if self._watcher is None:
            return
        try:
            stream = self._watcher.watch(feed.topic)
        except Exception as exc:
            self._failed(feed, exc)
            return
        feed.reader = asyncio.create_task(
            self._read(feed, stream), name=f"cascade gate {feed.topic}", context=self._context.copy()
        )
        self._readers.add(feed.reader)
        feed.reader.add_done_callback(self._readers.discard)

    def _close(self, feed: _Feed) -> None:
        if feed.reader is not None:
            feed.reader.cancel()
        feed.reader = None

    async def _read(self, feed: _Feed, stream: WatchStream) -> None:
        error: Exception | None = None
        started = self._clock.monotonic()
        try:
            async for item in stream:
                if asyncio.current_task() is not feed.reader:
                    return
                if isinstance(item, Message):
                    self._take(feed, item)
                elif isinstance(item, Linked):
                    feed.is_live, feed.failures = False, 0
                elif isinstance(item, Lost) and item.reason == REFUSED:
                    self._lost(feed, IS_REFUSED)
                if self._clock.monotonic() - started > LOOP_BUDGET:
                    # many values at once must not block the loop
                    await asyncio.sleep(0)
                    started = self._clock.monotonic()
        except Exception as exc:
            error = exc
        finally:
            # the stream is abandoned in any case
            with contextlib.suppress(Exception):
                await stream.aclose()
        if asyncio.current_task() is feed.reader:
            self._failed(feed, error)

    def _take(self, feed: _Feed, message: Message) -> None:
        now = self._clock.monotonic()
        if rate := feed.guard.note(now):
            self._close(feed)
            feed.again_at = now + FLOOD_PAUSE
            feed.retained = None
            self._lost(
                feed,
                f"sends {rate:.0f} values/s, more than {MAX_RATE:.0f}; it is read again after {FLOOD_PAUSE:.0f} s",
            )
        elif feed.is_news(message):
            feed.last = message.payload
            self._receive(feed.topic, message.payload, message.retain)

    def _failed(self, feed: _Feed, error: Exception | None) -> None:
        feed.reader = None
        feed.failures = min(feed.failures + 1, 10)
        feed.again_at = self._clock.monotonic() + min(_LONGEST_BACKOFF, 2.0**feed.failures)
        cause = f"{type(error).__name__}: {error}"[:100] if error is not None else "the connector closed it"
        self._lost(feed, f"cannot be read now ({cause})")

    def _lost(self, feed: _Feed, why: str) -> None:
        feed.last = NoValue(why)
        self._lose(feed.topic, feed.last)
