"""Messages that show what a broker permits and keeps. Everything is published under one random name and cleared afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from cascade.cli.link import Link
from cascade.interfaces.abilities import SupportsStatistics
from cascade.interfaces.connector import Subscription
from cascade.interfaces.text import printable
from cascade.interfaces.topics import encode_level, response_topic
from cascade.interfaces.watch import Complete, Linked, Message
from cascade.interfaces.wire import encode_payload
from cascade.ops._doctor.facts import Ask, Retained, Right

ANSWER_SECONDS = 5.0
RETURN_SECONDS = 1.0
"""In which a message that the broker has acknowledged comes back to its sender."""
QUIET_SECONDS = 0.3
BURST_SECONDS = 30.0
WRITE_SECONDS = 1.0
"""In which messages are retained; clearing them takes as long again."""
_AT_A_TIME = 50
EXPIRED = {"type": "pause", "expires_at": 1.0}
"""A register that no engine obeys: it has expired in 1970."""
VERSION = "$SYS/broker/version"
"""Where mosquitto, EMQX and others retain their version."""
_VERSION_LENGTH = 80
_REQUESTS = "cascade/requests/+/+"
SIZE = 65_536
"""Bytes of the largest payload that is tried: reports may have so many."""


class Examined(Link, SupportsStatistics, Protocol):
    """A connector whose counts show what the broker denies."""


class RightsProbe:
    """Tries topics one after another, so that each denial is known to belong to its topic."""

    def __init__(self, link: Examined) -> None:
        self._link = link
        self._arrived: dict[str, asyncio.Event] = {}
        self._refused: set[str] = set()

    async def send(self, topic: str, payload: dict[str, object] | None, *, retain: bool) -> None:
        """Subscribe to a topic and publish there: an empty message, which leaves nothing, or a payload.

        :param retain: as what belongs on the topic is sent: rules may permit one and deny the other.
        """
        arrived = self._arrived[topic] = asyncio.Event()

        async def take(_: str, data: object) -> None:
            arrived.set()

        before = _dropped(self._link)
        await self._link.subscribe(topic, take)
        await self._link.publish(topic, payload, 1, retain=retain)
        await self._link.flush(ANSWER_SECONDS)
        # a broker that is slow has refused nothing
        if _dropped(self._link) > before:
            self._refused.add(topic)

    async def outcome(self) -> dict[str, Right]:
        """Wait for what comes back; return what became of each topic."""
        ends = time.monotonic() + RETURN_SECONDS
        for event in self._arrived.values():
            await happens(event, max(0.0, ends - time.monotonic()))
        unreadable = self._link.statistics().refused
        return {
            topic: Right(topic, event.is_set(), topic in self._refused, topic in unreadable)
            for topic, event in self._arrived.items()
        }

    async def clear(self, topic: str) -> None:
        """Clear what was retained on a topic."""
        await self._link.publish(topic, None, 1, retain=True)
        await self._link.flush(ANSWER_SECONDS)

    @property
    def cut(self) -> bool:
        """Whether the link has ended since it was made."""
        found = self._link.statistics()
        return not found.linked or found.connections > 1


async def read_published(link: Examined, topic: str) -> str:
    """Return what the broker publishes of itself, on one line; empty if this user can read nothing there."""
    stream = link.watch(topic)
    with contextlib.suppress(TimeoutError):
        async with contextlib.aclosing(stream), asyncio.timeout(ANSWER_SECONDS):
            async for item in stream:
                if isinstance(item, Message):
                    return printable(item.payload.decode("utf-8", "replace")[:_VERSION_LENGTH])
                if isinstance(item, Complete):
                    break
    return ""


async def read_kept_requests(link: Examined) -> tuple[str, ...]:
    """Return the topics of the requests that a broker retains, as far as this user may read them."""
    found: dict[str, None] = {}
    stream = link.watch(_REQUESTS)
    with contextlib.suppress(TimeoutError):
        async with contextlib.aclosing(stream), asyncio.timeout(ANSWER_SECONDS):
            async for item in stream:
                if isinstance(item, Message) and item.retain and item.payload:
                    found[item.topic] = None
                if not isinstance(item, Message | Linked):
                    break
    return tuple(found)


async def ask_service(link: Examined, source: str, workflow: str, request_id: str) -> Ask:
    """Ask a service to start a workflow with a request that has expired; return what became of it."""
    answered = asyncio.Event()

    async def take(_: str, data: object) -> None:
        answered.set()

    topic = f"cascade/requests/{encode_level(source)}/{encode_level(workflow)}"
    subscription = await link.subscribe(response_topic(source, request_id), take)
    before = _dropped(link)
    await link.publish(topic, {"id": request_id, "expires_at": 1.0, "by": "cascade doctor"}, 1)
    await link.flush(ANSWER_SECONDS)
    denied = _dropped(link) > before
    came = not denied and await happens(answered, RETURN_SECONDS)
    await subscription.unsubscribe()
    return Ask.DENIED if denied else Ask.ANSWERED if came else Ask.SILENT


async def try_size(link: Examined, topic: str) -> int | None:
    """Return the size of a large message if it does not come back."""
    arrived = asyncio.Event()

    async def take(_: str, data: object) -> None:
        arrived.set()

    subscription = await link.subscribe(topic, take)
    frame, _ = encode_payload({"text": ""})
    await link.publish(topic, {"text": "x" * (SIZE - len(frame))}, 1)
    came = await happens(arrived, ANSWER_SECONDS)
    await subscription.unsubscribe()
    return None if came else SIZE


@asynccontextmanager
async def retained(link: Examined, base: str, name: str, count: int) -> AsyncIterator[int]:
    """Keep messages on ``{base}/{name}-{number}`` while the context lasts; they are cleared at its end.

    Yields how many: a broker that writes its store at each message takes only some in :data:`WRITE_SECONDS`.
    """
    kept, ends = 0, time.monotonic() + WRITE_SECONDS
    try:
        while kept < count and time.monotonic() < ends:
            first, kept = kept, min(kept + _AT_A_TIME, count)
            for number in range(first, kept):
                await link.publish(f"{base}/{name}-{number}", {"number": number}, 1, retain=True)
            await link.flush(BURST_SECONDS)
        yield kept
    finally:
        for number in range(kept):
            await link.publish(f"{base}/{name}-{number}", None, 1, retain=True)
        await link.flush(BURST_SECONDS)


async def read_back(link: Examined, base: str, name: str, count: int) -> Retained:
    """Return what new subscriptions of a link get of the retained messages."""
    one = await _Arrivals(link, f"{base}/{name}-0", base, name).until_echo()
    every = await _Arrivals(link, f"{base}/+", base, name).until_echo()
    return Retained(
        count,
        exact=bool(one.numbers),
        received=len(every.numbers | every.late),
        late=len(every.late - every.numbers),
    )


async def count_queued(link: Examined, base: str, name: str) -> int:
    """Return how many of the retained messages a new subscription at QoS 1 gets: a broker queues them."""
    found = await _Arrivals(link, f"{base}/+", base, name, qos=1).until_echo()
    return len(found.numbers | found.late)


class _Arrivals:
    """The retained messages that one subscription gets, before and behind a message sent after it."""

    def __init__(self, link: Examined, topic_filter: str, base: str, name: str, *, qos: int = 0) -> None:
        self.numbers: set[str] = set()
        self.late: set[str] = set()
        self._link = link
        self._filter = topic_filter
        self._prefix = f"{base}/{name}-"
        self._echo = f"{base}/{name}-echo-{time.monotonic_ns()}"
        self._qos = qos
        self._echoed = asyncio.Event()
        self._more = asyncio.Event()

    async def until_echo(self) -> _Arrivals:
        """Subscribe; return when the echo has come back and nothing more arrives."""
        subscriptions: list[Subscription] = [await self._link.subscribe(self._filter, self._take, self._qos)]
        if not self._filter.endswith("+"):
            subscriptions.append(await self._link.subscribe(self._echo, self._take))
        await self._link.publish(self._echo, {"echo": True}, 0)
        await happens(self._echoed, ANSWER_SECONDS)
        while await happens(self._more, QUIET_SECONDS):
            self._more.clear()
        for each in subscriptions:
            await each.unsubscribe()
        return self

    async def _take(self, topic: str, data: dict[str, object]) -> None:
        self._more.set()
        if topic == self._echo:
            self._echoed.set()
        elif topic.startswith(self._prefix) and "number" in data:
            (self.late if self._echoed.is_set() else self.numbers).add(topic)


async def happens(event: asyncio.Event, seconds: float) -> bool:
    """Return whether something happens within a time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _dropped(link: Examined) -> int:
    return sum(link.statistics().dropped.values())
