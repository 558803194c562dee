"""Sync of the registers with the broker, and which of them a sync removes. No I/O.

The connector decides when the retained set of a watch has arrived (``Complete``). Until then, and
after it, each message applies as it arrives; ``Complete`` then names every topic that holds a
message, and the registers of all others are removed: a clear that was sent while the engine was
away leaves no message behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import Context
from enum import StrEnum

import msgspec

from cascade.interfaces import (
    Clock,
    Complete,
    Message,
    SupportsExtend,
    SupportsWatch,
    WatchItem,
    WatchStream,
    supports,
)
from cascade.interfaces.topics import CONSTRAINTS_FILTER, STORE_TOPIC, constraint_topic
from cascade.runtime._admission.limits import RULES
from cascade.runtime._control.constraint_parsing import MAX_TOPIC, bounded, decode, parse
from cascade.runtime._control.registers import Registers
from cascade.runtime._support.clock import earliest
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


COMPLETE_LIMIT = 5.0
"""Seconds without ``Complete`` on a link, after which the sync is reported as degraded."""
READ_LIMIT = 1.0
"""Seconds to read what has arrived, after this process stood still."""
MAX_PAUSE = 60.0
"""The most seconds until a stream that has failed is opened again."""
_MAX_HEARD = 20_000
"""How many topics of messages between two sets are remembered; with more, every register is looked at."""


class SyncState(StrEnum):
    """The values of ``sync`` in a report."""

    SYNCING = "syncing"
    """The retained set is awaited; known constraints stay in force."""
    SYNCED = "synced"
    """The registers are the broker's retained set, as far as its network can show that."""
    DEGRADED = "degraded"
    """Nothing shows that the set is complete: known constraints stay in force, messages that arrive apply."""
    STALE = "stale"
    """The broker has lost its store: known constraints stay in force, messages that arrive apply."""
    STOPPED = "stopped"
    """The engine no longer follows the broker."""


class _Store(msgspec.Struct, frozen=True):
    """The message on ``cascade/constraints/@store``."""

    store: str


class Sync:
    """Takes the items of a watch into the registers, in one of the states of :class:`SyncState`.

    :param named: whether the connector can prove that a set is complete; only then is one without
        proof reported as degraded.
    """

    def __init__(self, registers: Registers, *, named: bool, clock: Clock) -> None:
        self.state = SyncState.SYNCING
        self.reopen_at: float | None = clock.monotonic()
        """When to open a new stream, on the monotonic clock, or None."""
        self.late = False
        """Whether there is a link, but no ``Complete`` came within :data:`COMPLETE_LIMIT`."""
        self.proved = False
        """Whether the latest set was proved to be complete."""
        self.removed: list[str] = []
        """Topics of the constraints in force that a sync has removed; the caller empties the list."""
        self.store_replaced = False
        """Whether the set of another store has replaced the known one; the caller resets it."""
        self._registers = registers
        self._named = named
        self._clock = clock
        self._store: str | None = None
        self._store_changed = False
        # topics of registers that are kept although the broker lost them
        self._doubtful: set[str] = set()
        self._held: frozenset[str] | None = (
            # the latest set, if the topics of messages since then are known
            None
        )
        # these topics: no other register can have come
        self._heard: set[str] = set()
        self._complete_by: float | None = None
        self._linked = False
        self._failures = 0

    @property
    def store(self) -> str | None:
        """The identity of the broker's store, as far as it is known."""
        return self._store

    @property
    def has_set(self) -> bool:
        """Whether the registers are a whole set of the broker, or what was kept of one."""
        return self.state in (SyncState.SYNCED, SyncState.STALE) and self._linked

    def recall(self, payloads: Mapping[str, bytes], store: str | None) -> None:
        """Put the registers that an earlier process obeyed in force, until the broker's set replaces them."""
        self._store = store
        self._held = None  # none of these registers came with a message
        if not self._linked:
            # on a link the set is on its way: nothing is known of a loss
            self.state = SyncState.STALE
        for topic, payload in payloads.items():
            self._registers.apply(topic, parse(topic, payload))

    @property
    def is_linked(self) -> bool:
        """Whether the broker has acknowledged the stream's filters on a link that is still up."""
        return self._linked

    def opened(self) -> None:
        """Note that a new stream is open."""
        self.reopen_at = None

    def linked(self) -> None:
        """Wait for the retained set, now that the stream's filters are acknowledged."""
        self._linked = True
        self.late = False
        # a set of an earlier link means nothing for this one
        self.state = SyncState.SYNCING
        self._complete_by = self._clock.monotonic() + COMPLETE_LIMIT

    def lost(self) -> None:
        """Wait for the set that the connector gets again, because messages may be missing."""
        self.state = SyncState.SYNCING
        self._linked = self.late = False
        self._complete_by = None

    def failed(self) -> None:
        """Ask for a new stream, because this one has ended; wait longer after each failure."""
        pause = 0.0 if not self._failures else min(MAX_PAUSE, 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        self.lost()
        self.reopen_at = self._clock.monotonic() + pause

    def receive(self, message: Message) -> None:
        """Take in a message."""
        if message.topic == STORE_TOPIC:
            self._receive_store(message.payload)
            return
        topic, expires_in = bounded(message.topic), message.expires_in
        deadline = None if expires_in is None else self._clock.monotonic() + expires_in
        self._doubtful.discard(topic)
        self._note_heard(topic)
        outcome = parse(topic, message.payload, deadline=deadline)
        self._registers.apply(topic, outcome, live=not message.retain)

    def complete(self, complete: Complete) -> None:
        """Remove the registers that the broker no longer has."""
        self._linked, self.late, self._complete_by, self._failures = True, False, None, 0
        self.proved = complete.proved
        self._registers.cancels.in_first_set = False
        self.store_replaced, self._store_changed = self._store_changed, False
        if complete.topics is None:
            self.state = SyncState.SYNCED
        else:
            self._keep(complete.topics, complete.forgotten)
        if self._named and not complete.proved and self.state is SyncState.SYNCED:
            self.state = SyncState.DEGRADED

    def stood_still(self) -> None:
        """Leave time to read what has arrived while this process did not run."""
        if self._complete_by is not None:
            self._complete_by = max(self._complete_by, self._clock.monotonic() + READ_LIMIT)

    def due(self) -> float | None:
        """Return when :meth:`tick` has something to do, on the monotonic clock, or None."""
        return earliest(self.reopen_at, self._complete_by)

    def tick(self) -> bool:
        """Act on deadlines that have passed; return whether to open a new stream now."""
        now = self._clock.monotonic()
        if self._complete_by is not None and now >= self._complete_by:
            self._complete_by = None
            self.late = True
            self.state = SyncState.DEGRADED
        return self.reopen_at is not None and now >= self.reopen_at

    def _keep(self, topics: frozenset[str], forgotten: frozenset[str]) -> None:
        """Remove all registers but those of ``topics``; what a lost store has taken away stays in force."""
        held = topics - forgotten if forgotten else topics
        missing = self._candidates(held) - held
        if any(len(topic) > MAX_TOPIC for topic in missing):
            missing -= {bounded(topic) for topic in held}
        store_lost = self._store is not None and STORE_TOPIC not in held
        if self.store_replaced:
            self._doubtful = set()
        elif store_lost:
            self._doubtful = missing
        else:
            self._doubtful = {topic for topic in missing if topic in forgotten}
        is_stale = bool(self._doubtful) or (store_lost and not self.store_replaced)
        self.state = SyncState.STALE if is_stale else SyncState.SYNCED
        self._remove([topic for topic in missing if topic not in self._doubtful])

    def _note_heard(self, topic: str) -> None:
        self._heard.add(topic)
        if len(self._heard) > _MAX_HEARD:
            self._heard.clear()
            self._held = None

    def _candidates(self, held: frozenset[str]) -> set[str]:
        """Return the topics of registers that may be missing in a set.

        A connector may report the same set object again, after each run; then registers from before are in it.
        """
        registers, heard, self._heard = self._registers, self._heard, set()
        is_same, self._held = held is self._held, held
        if not is_same or self._doubtful or registers.has_changes:
            return registers.topics()
        return {topic for topic in heard if registers.get(topic) is not None}

    def _remove(self, topics: list[str]) -> None:
        self.removed += [topic for topic in topics if self._registers.has_in_force(topic)]
        if topics and self._registers.over_limit:
            # there is room now for what was rejected before
            self.reopen_at = self._clock.monotonic()
        self._registers.remove(topics)

    def _receive_store(self, payload: bytes) -> None:
        """Note the store's identity. Another one than before ends ``stale``: an operator has started afresh."""
        try:
            store = msgspec.convert(decode(payload), _Store).store[:64] if payload else None
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return
        if store is None or store == self._store:
            return
        known, self._store = self._store, store
        if known is None and self.state is not SyncState.STALE:
            return
        self._store_changed = True
        if self.state is SyncState.STALE:
            self.state = SyncState.SYNCED
            self.store_replaced, self._store_changed = True, False
            self._remove([*self._doubtful])
            self._doubtful.clear()
