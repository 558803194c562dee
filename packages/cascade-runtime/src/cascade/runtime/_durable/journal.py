"""The journal of one run in an SQLite file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from cascade.interfaces import (
    NO_EVENTS,
    Clock,
    Earlier,
    Plan,
    RunStatus,
    StateUnavailable,
    StepEvents,
    StepRecord,
    StepState,
    UnreadableResultError,
    UnstorableValueError,
)
from cascade.interfaces.logs import get_logger
from cascade.runtime._durable.crash_points import reach
from cascade.runtime._durable.opening import Opened
from cascade.runtime._durable.writer import (
    Discard,
    Encode,
    End,
    Expand,
    Fail,
    Interrupt,
    Keep,
    Load,
    LoadAll,
    Operation,
    Retry,
    RunWriter,
    Start,
    Unkept,
    Wait,
)
from cascade.runtime._storage.group_commit import GroupCommit
from cascade.transport.state_log import StateLog

_log = get_logger("cascade.state")

LINGER = 0.05
"""Seconds for which a row that no caller waits for may wait for one to share its commit."""
MAX_WAITING = 1_024
"""Rows in the queue from which on no further step should start."""
CLOSE_TIMEOUT = 5.0
"""Seconds for which closing waits for the disk."""


class SqliteJournal:
    """A :class:`cascade.interfaces.Journal`; :class:`SqliteState` makes it."""

    def __init__(
        self,
        opened: Opened,
        *,
        writer: RunWriter,
        clock: Clock,
        required: bool,
        required_results: bool,
        on_closed: Callable[[SqliteJournal], Awaitable[None]],
    ) -> None:
        self._attempt = opened.file.attempt
        self._earlier = opened.earlier
        self._index = opened.index
        self._claim = opened.claim
        self._writer = writer
        self._clock = clock
        self._required = required
        self._required_results = required_results
        self._on_closed = on_closed
        # steps that run now -> their tasks' names
        self._names: dict[str, str] = {}
        self._warned = StateLog(_log)
        self._closed = self._ended = False
        self._before = opened.before
        """How the run stood; None once this attempt has recorded anything, and for a new run."""
        self._pid = os.getpid()
        self._commit: GroupCommit[Operation] = GroupCommit(writer, name="cascade state", linger=LINGER)

    @property
    def attempt(self) -> int:
        """Which attempt of the run this is, from 1."""
        return self._attempt

    @property
    def earlier(self) -> Earlier | None:
        """What was recorded before this attempt; None for a new run."""
        return self._earlier

    @property
    def stalled(self) -> bool:
        """Whether rows cannot be written at this moment."""
        return self._writer.stalled or self._commit.waiting > MAX_WAITING

    async def writable(self) -> None:
        """Wait until rows can be written."""
        if self.stalled or self._writer.failure is not None:
            await self._call(Wait())

    def known(self, key: str) -> StepRecord | None:
        """Return what was recorded of a step before this attempt."""
        return self._index.get(key)

    def known_keys(self, *states: StepState) -> Iterable[str]:
        """Return the keys of all steps that are known, or of those in one of these states."""
        return self._index.keys(*states)

    async def load(self, key: str) -> Any:
        """Return a recorded value or plan."""
        return await self._commit.call(Load(key))

    async def load_all(self, keys: Sequence[str]) -> list[Any]:
        """Return recorded values and plans, and errors in the places of those that cannot be read."""
        try:
            values: list[Any] = await self._commit.call(LoadAll(keys))
        except StateUnavailable as exc:
            if self._required:
                raise
            self._warned.failed(None, "%s; the run continues unrecorded", exc)
            return [exc] * len(keys)
        return values

    async def discard(self, keys: Iterable[str]) -> None:
        """Delete what is recorded of these steps."""
        names = [*keys]
        await self._call(Discard(names))
        self._index.discard(names)

    def started(self, key: str, *, name: str, inputs: bytes, code: bytes) -> None:
        """Record a start with the next commit."""
        self._post(self._start(key, StepState.STARTED, name, inputs, code))
        reach("start-queued")

    async def started_for_certain(self, key: str, *, name: str, inputs: bytes, code: bytes) -> None:
        """Record a start before the call."""
        await self._call(self._start(key, StepState.IN_DOUBT, name, inputs, code))

    def retrying(self, key: str, *, tries: int, not_before: float, error: str) -> None:
        """Record a failed try with the next commit."""
        self._post(Retry(key, tries, not_before, _text(error)))

    async def completed(
        self, key: str, value: Any, *, events: Callable[[], StepEvents] = StepEvents, error: str = ""
    ) -> bool:
        """Record a value; return whether it is kept."""
        name = self._names.pop(key, key)
        # no event may report the end of a step that is about to fail
        if self._required_results:
            encode = Encode(key, value)
            return await self._call(encode) and await self._call(
                Keep(key, None, self._clock.now(), events(), problem=_text(error), stored=encode.result)
            )
        try:
            return await self._call(Keep(key, value, self._clock.now(), events(), problem=_text(error)))
        except UnstorableValueError as exc:
            message = "task %s: its result is not recorded, so the step runs again on resume: %s"
            self._warned.failed(name, message, name, exc)
            return await self._call(Unkept(key)) and False

    async def expanded(
        self, key: str, plan: Plan, *, replaces: str | None = None, events: StepEvents = NO_EVENTS
    ) -> None:
        """Record a plan; delete an earlier turn in the same commit."""
        self._names.pop(key, None)
        await self._call(Expand(key, plan, self._clock.now(), events, replaces=replaces))

    def settled(self, before: int) -> None:
        """Forget events with the next commit."""
        self._writer.settled = before

    async def failed(self, key: str, error: str) -> None:
        """Record a final failure."""
        self._names.pop(key, None)
        await self._call(Fail(key, _text(error), self._clock.now()))

    async def end(self, status: RunStatus, error: str = "") -> None:
        """Record how the run ended, and close."""
        now, before = self._clock.now(), self._before
        stands = before is not None and before.status == status.value == RunStatus.SUCCEEDED.value
        await self._call(
            End(status.value, _text(error), now, before.ended if before is not None and stands else now)
        )
        self._ended = True
        await self.close()

    async def close(self) -> None:
        """Commit what is queued, and release the run; do nothing in a forked child.

        If this attempt recorded nothing, the run stands as it did before.
        """
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        if not self._ended:
            self._commit.post(Interrupt(self._clock.now(), self._before))
        self._writer.hurry()
        stopped = self._commit.stop()
        done, _ = await asyncio.wait([stopped], timeout=CLOSE_TIMEOUT)
        if not done:
            _log.warning("state: the disk does not answer; what is queued may not be recorded")
        self._claim.release()
        await self._on_closed(self)

    def _start(self, key: str, state: StepState, name: str, inputs: bytes, code: bytes) -> Start:
        self._names[key] = name
        return Start(key, state, _text(name), inputs, code, self._clock.now())

    def _post(self, operation: Operation) -> None:
        self._before = None
        if self._writer.failure is None:
            self._commit.post(operation)

    async def _call(self, operation: Operation) -> bool:
        """Await a commit; return False if the run continues unrecorded."""
        if operation.writes:
            self._before = None
        try:
            await self._commit.call(operation)
        except StateUnavailable as exc:
            if self._required:
                raise
            self._warned.failed(None, "%s; the run continues unrecorded", exc)
            return False
        return True


def _text(text: str) -> str:
    """Return a text that UTF-8 can hold: an error may quote a file name that is not text."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class UnrecordedJournal:
    """A :class:`cascade.interfaces.Journal` that knows and keeps nothing."""

    attempt = 1
    earlier = None
    stalled = False

    async def writable(self) -> None:
        """Return."""

    def known(self, key: str) -> StepRecord | None:
        """Return None."""

    def known_keys(self, *states: StepState) -> Iterable[str]:
        """Return no keys."""
        return ()

    async def load(self, key: str) -> Any:
        """Refuse: nothing is recorded."""
        raise UnreadableResultError(key, "none is recorded")

    async def load_all(self, keys: Sequence[str]) -> list[Any]:
        """Return an error for each key: nothing is recorded."""
        return [UnreadableResultError(key, "none is recorded") for key in keys]

    async def discard(self, keys: Iterable[str]) -> None:
        """Do nothing."""

    def started(self, key: str, *, name: str, inputs: bytes, code: bytes) -> None:
        """Do nothing."""

    async def started_for_certain(self, key: str, *, name: str, inputs: bytes, code: bytes) -> None:
        """Do nothing."""

    def retrying(self, key: str, *, tries: int, not_before: float, error: str) -> None:
        """Do nothing."""

    async def completed(
        self, key: str, value: Any, *, events: Callable[[], StepEvents] = StepEvents, error: str = ""
    ) -> bool:
        """Return False: the value is not kept."""
        return False

    async def expanded(
        self, key: str, plan: Plan, *, replaces: str | None = None, events: StepEvents = NO_EVENTS
    ) -> None:
        """Do nothing."""

    def settled(self, before: int) -> None:
        """Do nothing."""

    async def failed(self, key: str, error: str) -> None:
        """Do nothing."""

    async def end(self, status: RunStatus, error: str = "") -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""
