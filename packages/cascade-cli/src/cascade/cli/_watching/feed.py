"""Messages from the broker, folded into a view for as long as a watcher watches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from cascade.cli.link import Link
from cascade.cli.snapshot import REGISTERS, STATES, STATUS, not_permitted, unanswered_subscription
from cascade.interfaces.watch import Complete, Linked, Lost, Message
from cascade.wire import View

EVENTS = "cascade/telemetry/+/+/+/events"
FILTERS = (STATUS, STATES, REGISTERS, EVENTS)
TICK_SECONDS = 0.25
"""Between two pictures, at least."""
MESSAGES_A_TURN = 500
"""Messages that are folded before other asyncio tasks run: a burst must not stop the screen or Ctrl-C."""
SUBSCRIBE_SECONDS = 2.0


class Feed:
    """A view that follows the broker, and the state of the link."""

    def __init__(self, link: Link) -> None:
        self.view = View()
        self.lost_since: float | None = None
        """When the link went down, on the monotonic clock; None while it is up."""
        self.complete = False
        """Whether all retained messages have arrived."""
        self.problem = ""
        self._begun = False  # the first look is over
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

    async def _read(self) -> None:
        folded = 0
        self.lost_since = time.monotonic()
        async for item in self._stream:
            if isinstance(item, Message):
                self.view.fold(item.topic, item.payload, now=time.monotonic(), retained=item.retain)
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
        if item.topics is None:
            return
        for topic in [topic for topic in self.view.registers if topic not in item.topics]:
            self.view.fold(topic, b"", now=time.monotonic())
