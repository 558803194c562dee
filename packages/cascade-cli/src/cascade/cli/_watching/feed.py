"""Messages from the broker, folded into a view for as long as a watcher watches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from cascade.cli.link import Link
from cascade.cli.snapshot import (
    REGISTERS,
    STATES,
    STATUS,
    not_permitted,
    unanswered_subscription,
    unreadable,
    unreported,
)
from cascade.interfaces.topics import parse_status_topic, state_topic, status_topic
from cascade.interfaces.watch import Complete, Linked, Lost, Message
from cascade.wire import View

EVENTS = "cascade/telemetry/+/+/+/events"
FILTERS = (STATUS, STATES, REGISTERS, EVENTS)
TICK_SECONDS = 0.25
"""Between two pictures, at least."""
MESSAGES_A_TURN = 500
"""Messages that are folded before other asyncio tasks run: a burst must not stop the screen or Ctrl-C."""
SUBSCRIBE_SECONDS = 2.0
FORGET_SECONDS = 12.0
"""Seconds until an engine counts as unknown whose presence a complete set lacks: a live one has connected again by then."""
OWN_REPORTS = ("constraints", "runs", "graph", "ended", "summary", "host", "workflows")
MAX_REGISTERS = 11_000


class Feed:
    """A view that follows the broker, and the state of the link."""

    def __init__(self, link: Link, *, user: str = "") -> None:
        self._user = user
        self.view = View()
        self.lost_since: float | None = None
        """When the link went down, on the monotonic clock; None while it is up."""
        self.complete = False
        """Whether all retained messages have arrived."""
        self.problem = ""
        self.notice = ""
        """Why the picture lacks what the broker has, as far as that is known."""
        self.waits = ""
        """For which run the watch waits that it has not seen; empty if for none."""
        self._link = link
        self._first: Complete | None = None
        self.gone: set[str] = set()
        """Topics of registers that the broker no longer has, and whose clear was not seen."""
        # since when the broker has no presence of an engine that was online
        self._missing: dict[str, float] = {}
        self._begun = False  # the first set has been read, or did not come
        self._stream = link.watch(*FILTERS)

    def without_state(self, now: float) -> list[str]:
        """Return the sources of which only events arrive; none before all retained messages have arrived."""
        if not self.complete:
            return []
        return [engine.source for engine in self.view.without_state(now)]

    async def ticks(self) -> AsyncGenerator[None, None]:
        """Yield a few times a second; the view is up to date then."""
        reading = asyncio.create_task(self._read(), name="cascade-cli-watch")
        try:
            await self._begin(reading)
            while not reading.done():
                self._forget_missing(time.monotonic())
                yield
                await asyncio.wait({reading}, timeout=TICK_SECONDS)
            reading.result()
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            await self._stream.aclose()

    async def _begin(self, reading: asyncio.Task[None]) -> None:
        """Wait for the broker's answer to the subscription, and briefly for what it retains."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SUBSCRIBE_SECONDS
        while not self.complete and not reading.done() and loop.time() < deadline:
            await asyncio.wait({reading}, timeout=0.02)
        self._begun = True
        if reading.done():
            return
        if not self.view.engines and not self.complete and self.lost_since is not None:
            raise unanswered_subscription()
        if self.complete and not self.view.has_retained:
            self.notice = await unreadable(self._link, self._first, self._user)
        elif self.complete:
            self.notice = unreported(self.view)

    async def _read(self) -> None:
        folded = 0
        self.lost_since = time.monotonic()
        async for item in self._stream:
            if isinstance(item, Message):
                self.view.fold(item.topic, item.payload, now=time.monotonic(), retained=item.retain)
                self.gone.discard(item.topic)
                if (source := parse_status_topic(item.topic)) is not None:
                    self._missing.pop(source, None)
                folded += 1
                if folded % MESSAGES_A_TURN == 0:
                    await asyncio.sleep(0)
            elif isinstance(item, Linked):
                self.lost_since = None
            elif isinstance(item, Lost):
                self._note(item)
            elif isinstance(item, Complete):
                self._settle(item)

    def _note(self, item: Lost) -> None:
        if not self._begun and not self.complete and self.lost_since is None:
            raise not_permitted(item.reason)
        self.problem = item.reason
        if self.lost_since is None:
            self.lost_since = time.monotonic()

    def _settle(self, item: Complete) -> None:
        """Forget what was cleared while the link was down."""
        self.complete = True
        self._first = self._first or item
        if item.topics is None:
            return
        now = time.monotonic()
        for topic in [topic for topic in self.view.registers if topic not in item.topics]:
            self.view.fold(topic, b"", now=now)
            self.gone.add(topic)
        while len(self.gone) > MAX_REGISTERS:
            self.gone.pop()
        for source, engine in self.view.engines.items():
            if engine.presence is not None and status_topic(source) not in item.topics:
                self._missing.setdefault(source, now)

    def _forget_missing(self, now: float) -> None:
        """Forget engines that have not come back to a broker which has lost its store."""
        for source in [each for each, since in self._missing.items() if now - since > FORGET_SECONDS]:
            engine = self.view.engines.get(source)
            if engine is not None and not engine.is_silent(now):
                continue
            del self._missing[source]
            for topic in (status_topic(source), *(state_topic(source, kind) for kind in OWN_REPORTS)):
                self.view.fold(topic, b"", now=now)
