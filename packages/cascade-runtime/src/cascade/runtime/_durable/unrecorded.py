"""The journal of a run whose store cannot be used and is not required."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cascade.interfaces import (
    NO_EVENTS,
    Plan,
    RunStatus,
    StepEvents,
    StepRecord,
    StepState,
    UnreadableResultError,
)


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

    async def completed(self, key: str, value: Any, *, events: Callable[[], StepEvents] = StepEvents) -> bool:
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
