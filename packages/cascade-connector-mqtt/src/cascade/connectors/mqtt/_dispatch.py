"""Messages on their way in: matched once, decoded once, put before everyone who listens."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from cascade.connectors.mqtt._copies import Copies
from cascade.connectors.mqtt._listeners import CallbackListener, Counts, Incoming, Listener, WatchListener
from cascade.interfaces.topics import TopicMatcher, matches

_HELD_MESSAGES = 1_000
_HELD_SECONDS = 1.0


class Dispatcher:
    """All listeners of one connector, found by topic."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.copies = Copies(time.monotonic)
        self._matcher: TopicMatcher[Listener] = TopicMatcher()
        self._by_filter: dict[str, list[Listener]] = {}
        self._listeners: dict[Listener, None] = {}
        self._running: dict[CallbackListener, None] = {}
        self._held: deque[Incoming] = deque(maxlen=_HELD_MESSAGES)
        self._hold_until = 0.0

    def add(self, listener: Listener) -> None:
        """Register a listener; a message that came just before it is put before it, too."""
        self._listeners[listener] = None
        for topic_filter in listener.filters:
            self._matcher.add(topic_filter, listener)
            if topic_filter not in self._by_filter:
                self.copies.add(topic_filter)
            self._by_filter.setdefault(topic_filter, []).append(listener)
        if self._held:
            self._offer_held(listener)

    def remove(self, listener: Listener) -> list[str]:
        """Forget a listener; return the filters that nobody listens to any more. Twice is harmless."""
        if listener not in self._listeners:
            return []
        del self._listeners[listener]
        return [topic_filter for topic_filter in listener.filters if self._drop(topic_filter, listener)]

    def subscriptions(self) -> dict[str, int]:
        """Return every filter with the QoS to subscribe at."""
        return {topic_filter: self.qos(topic_filter) for topic_filter in self._by_filter}

    def qos(self, topic_filter: str) -> int:
        """Return the QoS to subscribe to a filter at.

        The highest that a callback wants; 0 where somebody watches, because the order of what
        is watched holds among messages of one QoS only.
        """
        listeners = self._by_filter[topic_filter]
        if any(isinstance(listener, WatchListener) for listener in listeners):
            return 0
        return max(listener.filters[topic_filter] for listener in listeners)

    def watches(self) -> list[WatchListener]:
        """Return the streams that are open."""
        return [listener for listener in self._listeners if isinstance(listener, WatchListener)]

    def begin(self) -> None:
        """Begin a session, and keep what nobody listens to yet for a moment: its first link may bring messages at once."""
        for listener in self._listeners:
            listener.begin()
        self._hold_until = time.monotonic() + _HELD_SECONDS

    def dispatch(self, topic: str, payload: bytes, retain: bool, expires_in: float | None) -> None:
        """Put one message before everyone whose filter matches, once each."""
        self.counts.received += 1
        if not retain and self.copies.is_copy(topic, payload):
            return
        message = Incoming(topic, payload, retain, expires_in)
        listeners = dict.fromkeys(self._matcher.match(topic))
        if not listeners and time.monotonic() < self._hold_until:
            self._held.append(message)
        for listener in listeners:
            listener.offer(message)

    async def stop(self, *, spare: asyncio.Task[Any] | None = None) -> None:
        """End every call in progress, but for one that is made by the task ``spare``."""
        self._held.clear()
        callbacks = [each for each in self._listeners if isinstance(each, CallbackListener)]
        await asyncio.gather(*(each.stop(spare) for each in (*callbacks, *self._running)))
        self._running.clear()

    def retire(self, listener: CallbackListener) -> None:
        """Begin no further call of an unsubscribed callback; keep hold of one in progress."""
        listener.end()
        self._running = {each: None for each in (*self._running, listener) if each.busy}

    def _drop(self, topic_filter: str, listener: Listener) -> bool:
        self._matcher.remove(topic_filter, listener)
        left = self._by_filter[topic_filter]
        left.remove(listener)
        if left:
            return False
        del self._by_filter[topic_filter]
        self.copies.remove(topic_filter)
        return True

    def _offer_held(self, listener: Listener) -> None:
        if time.monotonic() > self._hold_until:
            self._held.clear()
        for message in [*self._held]:
            if any(matches(topic_filter, message.topic) for topic_filter in listener.filters):
                self._held.remove(message)
                listener.offer(message)
