"""Sync of the registers with the broker, and which of them a sync removes. No I/O.

The connector decides when the retained set of a watch has arrived (``Complete``). Until then, and
after it, each message applies as it arrives; ``Complete`` then names every topic that holds a
message, and the registers of all others are removed: a clear that was sent while the engine was
away leaves no message behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from cascade.interfaces import (
    Clock,
    Complete,
    Message,
)
from cascade.interfaces.topics import STORE_TOPIC
from cascade.runtime._registers.parsing import MAX_TOPIC, bounded, decode, parse
from cascade.runtime._registers.registers import Registers
from cascade.runtime._support.clock import earliest

COMPLETE_LIMIT = 5.0
"""Seconds without ``Complete`` on a link, after which the sync is reported as degraded."""
READ_LIMIT = 1.0
"""Seconds to read what has arrived, after this process stood still."""
MAX_BACKOFF = 60.0
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

    @property
    def doubtful(self) -> list[str]:
        """Topics of the constraints that are in force although the broker has lost them."""
        return [topic for topic in self._doubtful if self._registers.has_in_force(topic)]

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
        backoff = 0.0 if not self._failures else min(MAX_BACKOFF, 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        self.lost()
        self.reopen_at = self._clock.monotonic() + backoff

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
