"""When the registers are replaced: echoes, deadlines, and what became of the broker's store. Pure.

A sync begins with a SUBSCRIBE and ends when the echo of a nonce, published behind it, comes
back: then the retained set has arrived, and it replaces the registers. Until then retained
messages are put aside and live ones are obeyed at once.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from cascade.interfaces import Clock, Message
from cascade.interfaces.topics import STORE_TOPIC, sync_topic
from cascade.runtime.constraints.parse import Outcome, bounded, decode, parse
from cascade.runtime.constraints.registers import MAX_REGISTERS, MAX_REJECTIONS, Registers

ECHO_LIMIT = 5.0
"""Seconds after which a sync without its echo is called degraded."""
INTERVAL = 60.0
"""Seconds between two syncs of a link that stays up."""

_SHORTEST_PAUSE = 5.0
_MAX_STAGED = MAX_REGISTERS + MAX_REJECTIONS

_Staged = dict[str, tuple[Outcome, bool]]
"""What messages say by topic, and whether they came live."""


class SyncState(StrEnum):
    """What ``sync`` in a report may say."""

    SYNCING = "syncing"
    """The retained set is awaited; what was known stays in force."""
    SYNCED = "synced"
    """The registers are the broker's retained set."""
    DEGRADED = "degraded"
    """No echo in time: what was known stays in force, what arrives is added."""
    STALE = "stale"
    """The broker has lost its store: what was known stays in force, what arrives is added."""
    STOPPED = "stopped"
    """Nobody follows the broker any more."""


class _Store(msgspec.Struct, frozen=True):
    """The message on ``cascade/constraints/@store``."""

    store: str


class Sync:
    """Brings messages to the registers, in one of the states of :class:`SyncState`.

    Whoever drives it opens a stream when :attr:`reopen_at` has come, and publishes a nonce when
    :meth:`linked` says which.
    """

    def __init__(self, registers: Registers, *, source: str, token: str, clock: Clock) -> None:
        self.state = SyncState.SYNCING
        self.reopen_at: float | None = clock.monotonic()
        """When a new stream is to be opened, on the monotonic clock, or None."""
        self.began_anew = False
        """Whether the last sync brought the set of a new store in the place of a known one."""
        self._registers = registers
        self._source = source
        self._token = token
        self._clock = clock
        self._staged: _Staged | None = {}
        self._too_many = 0
        self._store: str | None = None
        self._seen_store: str | None = None
        self._echo = ""
        self._echo_by: float | None = None
        self._linked = False
        self._attempts = 0
        self._failures = 0

    @property
    def linked_now(self) -> bool:
        """Whether the stream's filters have been acknowledged over a link that is still up."""
        return self._linked

    def opened(self) -> None:
        """Take note that a new stream has been opened: its retained messages come from here on."""
        self._begin()
        self.reopen_at = None

    def linked(self) -> str:
        """Return the topic to publish a nonce to: the stream's filters are acknowledged."""
        if not self._linked:
            self.state = SyncState.SYNCING  # that nobody has answered before means nothing now
        self._attempts += 1
        self._echo = sync_topic(self._source, f"{self._token}-{self._attempts}")
        self._echo_by = self._clock.monotonic() + ECHO_LIMIT
        self._linked = True
        self.reopen_at = None
        return self._echo

    def lost(self) -> None:
        """Take note that messages may have been missed; ask for a new stream, less often if in vain."""
        pause = 0.0 if not self._failures else min(INTERVAL, 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        self.state = SyncState.SYNCING
        self._linked = False
        self._begin()
        self.reopen_at = self._clock.monotonic() + pause

    def hear(self, message: Message) -> bool:
        """Take in what arrived; return whether it completed a sync."""
        if message.topic == STORE_TOPIC:
            self._hear_store(message.payload)
        elif message.topic.startswith("cascade/sync/"):
            return self._hear_echo(message.topic)
        else:
            self._hear_register(message)
        return False

    def due(self) -> float | None:
        """Return when :meth:`tick` has something to do, on the monotonic clock, or None."""
        return min((at for at in (self.reopen_at, self._echo_by) if at is not None), default=None)

    def tick(self) -> bool:
        """Look at the time; return whether a new stream is to be opened now."""
        now = self._clock.monotonic()
        if self._echo_by is not None and now >= self._echo_by:
            self._degrade(now)
        return self.reopen_at is not None and now >= self.reopen_at

    def _begin(self) -> None:
        self._staged = {}
        self._too_many = 0
        self._seen_store = None
        self._echo = ""
        self._echo_by = self._clock.monotonic() + ECHO_LIMIT

    def _hear_echo(self, topic: str) -> bool:
        if topic != self._echo:
            return False
        staged, self._staged = self._staged or {}, None
        self._echo, self._echo_by, self._failures = "", None, 0
        self.reopen_at = self._clock.monotonic() + INTERVAL
        known, seen = self._store, self._seen_store
        if known is not None and seen is None:
            self.state = SyncState.STALE
            self._registers.add(_outcomes(staged))
        else:
            self.state = SyncState.SYNCED
            self._store = seen
            self.began_anew = known is not None and known != seen
            self._registers.replace(_outcomes(staged))
        self._registers.over_limit += self._too_many
        return True

    def _hear_register(self, message: Message) -> None:
        topic, left = bounded(message.topic), message.expires_in
        deadline = None if left is None else self._clock.monotonic() + left
        outcome = parse(topic, message.payload, deadline=deadline)
        if self._staged is not None:
            self._stage(topic, outcome, live=not message.retain)
        if self._staged is None or not message.retain or self.state is SyncState.DEGRADED:
            self._registers.apply(topic, outcome)

    def _stage(self, topic: str, outcome: Outcome, *, live: bool) -> None:
        """Put a message aside; a live one is newer than any retained one that follows it."""
        assert self._staged is not None
        before = self._staged.get(topic)
        if before is None and len(self._staged) >= _MAX_STAGED:
            self._too_many += 1
        elif live or before is None or not before[1]:
            self._staged[topic] = (outcome, live)

    def _hear_store(self, payload: bytes) -> None:
        """Remember the store's identity; one that replaces a known one calls for a sync."""
        try:
            store = msgspec.convert(decode(payload), _Store).store[:64] if payload else None
        except (msgspec.MsgspecError, ValueError, RecursionError):
            store = self._store
        if self._staged is not None:
            self._seen_store = store
        elif store is not None and self._store is None:
            self._store = store
        elif store is not None and (store != self._store or self.state is SyncState.STALE):
            self.reopen_at = self._clock.monotonic()

    def _degrade(self, now: float) -> None:
        self._echo_by = None
        self.state = SyncState.DEGRADED
        if self._linked:
            self.reopen_at = now + min(INTERVAL, _SHORTEST_PAUSE * 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._registers.add(_outcomes(self._staged or {}))


def _outcomes(staged: _Staged) -> dict[str, Outcome]:
    """Return what was put aside."""
    return {topic: outcome for topic, (outcome, _) in staged.items()}
