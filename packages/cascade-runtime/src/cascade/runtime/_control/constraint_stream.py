"""The stream of an engine's constraints: what a connector's watch yields for them, read one after another.

The connector decides when all retained messages have arrived, and says so with ``Complete``: where the broker does not mark
their end, by the proof of ``cascade.transport.retained_proof``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context

from cascade.interfaces import Clock, SupportsExtend, SupportsWatch, WatchItem, WatchStream, supports
from cascade.interfaces.topics import CONSTRAINTS_FILTER, constraint_topic
from cascade.runtime._admission.rules import RULES
from cascade.transport.event_loop import LOOP_BUDGET

REMOVE_AFTER = 1.0
"""Seconds from the end of a run until its topics are no longer watched: most runs disconnect before."""


class ConstraintStream:
    """Reads what a connector's watch yields for all constraints, the exact topics of its own scopes first.

    A broker may withhold retained messages from a wildcard, but not from an exact topic.

    :param handle: awaited for each item.
    :param failed: called when the stream has failed, or ended without an error.
    :param closed: called when the event loop cancels the reader.
    :param context: the asyncio task of the reader runs in a copy of it.
    """

    def __init__(
        self,
        watcher: SupportsWatch,
        source: str,
        *,
        scopes: Iterable[str],
        clock: Clock,
        handle: Callable[[WatchItem], Awaitable[None]],
        failed: Callable[[Exception | None], None],
        closed: Callable[[], object],
        context: Context,
    ) -> None:
        self._watcher = watcher
        self._source = source
        self._clock = clock
        self._handle = handle
        self._failed = failed
        self._closed = closed
        self._context = context
        self._exact = [topic for scope in scopes for topic in exact_topics(scope)]
        # how many need each of the others
        self._needed: Counter[str] = Counter()
        self._stream: WatchStream | None = None
        self._reader: asyncio.Task[None] | None = None
        self._old_readers: set[asyncio.Task[None]] = set()
        self._unneeded: dict[str, None] = {}  # scopes that are still watched
        self._removal: float | None = None  # on the monotonic clock

    def open(self) -> None:
        """Open a new stream, then close the old one: in this order no message is missed in between.

        :raises Exception: what the connector's ``watch`` raises.
        """
        stream = self._stream = self._watcher.watch(*self._exact, CONSTRAINTS_FILTER)
        self._unneeded.clear()
        self._removal = None
        old = self._reader
        self._reader = asyncio.create_task(
            self._read(stream), name=f"cascade constraints {self._source}", context=self._context.copy()
        )
        if old is not None:
            self._keep_until_done(old)
            old.cancel()

    def end(self) -> None:
        """Handle nothing more; the stream ends with the tasks of :meth:`take_readers`."""
        if (reader := self._reader) is not None:
            self._keep_until_done(reader)
        self._reader = None

    def take_readers(self) -> list[asyncio.Task[None]]:
        """Return the asyncio tasks to cancel behind :meth:`end`."""
        return [*self._old_readers]

    def due(self) -> float | None:
        """Return when :meth:`tick` has something to do, on the monotonic clock, or None."""
        return self._removal

    def tick(self) -> None:
        """Stop watching the topics of scopes that were removed some time ago."""
        if self._removal is not None and self._clock.monotonic() >= self._removal:
            self._remove_unneeded()

    def add_scopes(self, *scopes: str) -> bool:
        """Watch the exact topics of further scopes; return whether their messages are on their way.

        A scope that is watched already is counted: it is watched until it is removed as often.
        """
        new = [scope for scope in scopes if not self._needed[scope]]
        self._needed.update(scopes)
        if not new:
            return False
        if not self._unneeded.keys().isdisjoint(new):  # their messages are to be sent anew
            self._remove_unneeded()
        topics = [topic for scope in new for topic in exact_topics(scope)]
        self._exact = [*topics, *self._exact]
        if self._stream is None or not supports(self._stream, SupportsExtend):
            return False
        # the stream has failed, and is opened again with these topics
        with contextlib.suppress(Exception):
            self._stream.extend(*topics)
            return True
        return False

    def remove_scopes(self, *scopes: str) -> None:
        """Watch the exact topics of scopes no longer, from :data:`REMOVE_AFTER` seconds after now at the latest."""
        self._needed.subtract(scopes)
        self._needed = +self._needed
        gone = [scope for scope in scopes if scope not in self._needed]
        topics = {topic for scope in gone for topic in exact_topics(scope)}
        self._exact = [each for each in self._exact if each not in topics]
        self._unneeded.update(dict.fromkeys(gone))
        if gone and self._removal is None:
            self._removal = self._clock.monotonic() + REMOVE_AFTER

    def _remove_unneeded(self) -> None:
        topics = [topic for scope in self._unneeded for topic in exact_topics(scope)]
        self._unneeded.clear()
        self._removal = None
        if self._stream is not None and supports(self._stream, SupportsExtend):
            with contextlib.suppress(Exception):  # as above
                self._stream.shrink(*topics)

    def _keep_until_done(self, reader: asyncio.Task[None]) -> None:
        self._old_readers.add(reader)
        reader.add_done_callback(self._old_readers.discard)

    async def _read(self, stream: WatchStream) -> None:
        started = self._clock.monotonic()
        try:
            async for item in stream:
                if asyncio.current_task() is self._reader:
                    await self._handle(item)
                if self._clock.monotonic() - started > LOOP_BUDGET:
                    # many messages at once must not block the loop
                    await asyncio.sleep(0)
                    started = self._clock.monotonic()
            error: Exception | None = None
        except Exception as exc:
            error = exc
        except asyncio.CancelledError:
            # the loop is being closed
            if asyncio.current_task() is self._reader:
                self._closed()
            raise
        finally:
            # the stream is abandoned in any case
            with contextlib.suppress(Exception):
                await stream.aclose()
        if asyncio.current_task() is self._reader:
            self._failed(error)


def exact_topics(scope: str) -> list[str]:
    """Return every topic that can hold a register of a scope: the short one, and one for each type."""
    short = constraint_topic(scope)
    return [short, *(f"{short}/@{kind}" for kind in RULES)]
