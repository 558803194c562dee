"""Constraints that a named engine remembers, so that its next process obeys them before it has a link."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cascade.interfaces import Clock
from cascade.interfaces.logs import get_logger
from cascade.runtime._registers.parsing import Constraint
from cascade.runtime._support.clock import call_later_on
from cascade.transport.state_log import StateLog

if TYPE_CHECKING:
    from cascade.interfaces import SupportsControlMemory, Timer
    from cascade.runtime._registers.registers import Registers
    from cascade.runtime._registers.sync import Sync

_log = get_logger("cascade.constraints")
RETRY_AFTER = 5.0
"""Seconds after which a set that could not be saved is saved again."""
_VERSION = 1
_FORGOTTEN = frozenset({"cancel"})
"""Types that end what ran then, and mean nothing for the next process."""


class Remembered(NamedTuple):
    """What an earlier process obeyed."""

    payloads: Mapping[str, bytes]
    """Messages of the registers, by topic."""
    store: str | None
    """Identity of the broker's store."""


class ControlMemory:
    """Saves the registers of one engine whenever they change, in the order of the changes; the latest set counts.

    No fault of the store raises or delays anything: it is logged once.
    """

    def __init__(self, store: SupportsControlMemory, source: str, project_id: str, *, clock: Clock) -> None:
        self._store = store
        self._source = source
        self._project_id = project_id
        self._clock = clock
        self._state_log = StateLog(_log)
        self._saved = -1  # the revision of the registers that was saved last
        self._next: Mapping[str, Any] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._unsaved: Mapping[str, Any] | None = None  # the latest set, which could not be saved
        self._call_later = call_later_on(clock)
        self._retry: Timer | None = None

    async def recall(self) -> Remembered | None:
        """Return what was saved last for this source and project; None if nothing was."""
        try:
            found = await self._store.load_control(self._source)
        except Exception as exc:
            self._failed("read", exc)
            return None
        if not found or found.get("v") != _VERSION or found.get("project_id") != self._project_id:
            return None
        registers, store = found.get("registers"), found.get("store")
        if not isinstance(registers, dict):
            return None
        payloads = {topic: json.dumps(message).encode() for topic, message in registers.items()}
        return Remembered(payloads, store if isinstance(store, str) else None)

    def save(self, registers: Mapping[str, Constraint], store: str | None) -> None:
        """Save these registers soon."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        self._next = {
            "v": _VERSION,
            "source": self._source,
            "project_id": self._project_id,
            "saved": now,
            "store": store,
            "registers": dict(_messages(registers, now - monotonic)),
        }
        self._start_writing()

    def save_changes(self, registers: Registers, sync: Sync) -> None:
        """Save the registers if they have changed, once they are a whole set."""
        if self._saved != registers.revision and sync.has_set:
            self._saved = registers.revision
            self.save(registers.values, sync.store)

    async def forget(self) -> None:
        """Delete what is saved; what the broker has is in force, and is saved again."""
        self._saved = -1
        try:
            await self._store.forget_control(self._source)
        except Exception as exc:
            self._failed("delete", exc)

    async def flush(self, timeout: float) -> None:
        """Wait until what is to be saved is saved, at most so many seconds; what failed is tried once more."""
        self._save_again()
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=timeout)
        self._stop_retry()

    def _start_writing(self) -> None:
        self._unsaved = None
        self._stop_retry()
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(
                self._write(), name=f"cascade control memory {self._source}"
            )

    def _save_again(self) -> None:
        """Save the set that could not be saved, unless a later one came."""
        if self._unsaved is not None:
            self._next = self._unsaved
            self._start_writing()

    def _stop_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    async def _write(self) -> None:
        try:
            while (content := self._next) is not None:
                self._next = None
                try:
                    await self._store.save_control(self._source, content)
                except Exception as exc:
                    self._failed("write", exc)
                    self._saved = -1
                    if self._next is None:
                        self._unsaved = content
                        self._retry = self._call_later(RETRY_AFTER, self._save_again)
                else:
                    self._state_log.works("write", "%s: its constraints can be saved again", self._source)
        finally:
            self._writing = None

    def _failed(self, verb: str, error: Exception) -> None:
        message = "%s: cannot %s the constraints that its next process should obey: %s"
        self._state_log.failed(verb, message, self._source, verb, error)


def _messages(registers: Mapping[str, Constraint], epoch: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the messages that lead to these registers, by topic; deadlines are on the wall clock."""
    for topic, constraint in registers.items():
        kind = constraint.rule.type
        if kind in _FORGOTTEN:
            continue
        expires = constraint.expires_at if constraint.deadline is None else constraint.deadline + epoch
        yield (
            topic,
            {
                "id": constraint.id,
                "scope": constraint.scope,
                "type": kind,
                "params": constraint.rule.params(),
                "expires_at": expires,
                **({"by": constraint.by} if constraint.by else {}),
            },
        )
