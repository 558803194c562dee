"""The outside program that steers engines in the tests."""

import asyncio
from typing import Any, Self

import pytest

from cascade.interfaces.topics import constraint_topic
from cascade.runtime import LocalConnector, LocalHub


class Desk:
    """Writes retained constraints and reads reports; of engines it knows nothing else."""

    def __init__(self, hub: LocalHub) -> None:
        self.connector = LocalConnector(hub, source_id="desk")
        self.reports: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        await self.connector.connect()
        await self.connector.subscribe("cascade/state/+/constraints", self._hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connector.disconnect()

    async def put(self, scope: str, kind: str, *, expires_at: float | None = None, **params: Any) -> None:
        payload = {"type": kind, "params": params, "expires_at": expires_at}
        await self.connector.publish(constraint_topic(scope, kind), payload, 1, retain=True)

    async def lift(self, scope: str, kind: str) -> None:
        await self.connector.publish(constraint_topic(scope, kind), None, 1, retain=True)

    @property
    def last(self) -> dict[str, Any]:
        """The newest report; an empty one as long as none has arrived."""
        return (
            self.reports[-1] if self.reports else {"applied": {}, "effective": [], "in_scope_running": None}
        )

    def status(self, topic: str) -> str | None:
        """What the newest report says of a constraint's topic."""
        told = self.last["applied"].get(topic, {}).get("status")
        return None if told is None else str(told)

    def applied(self, scope: str, kind: str) -> bool:
        return self.status(constraint_topic(scope, kind)) == "applied"

    async def _hear(self, topic: str, data: dict[str, Any]) -> None:
        self.reports.append(data)


def limits_of(seconds: float, monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Timeout]:
    """Return a list to which every ``asyncio.timeout`` of so many seconds is added."""
    limits: list[asyncio.Timeout] = []
    make = asyncio.timeout

    def timeout(delay: float | None) -> asyncio.Timeout:
        limit = make(delay)
        if delay == seconds:
            limits.append(limit)
        return limit

    monkeypatch.setattr(asyncio, "timeout", timeout)
    return limits


def pass_now(limit: asyncio.Timeout) -> None:
    """Have the time of a limit be up: a test that waits for it would depend on how fast the machine is."""
    limit.reschedule(asyncio.get_running_loop().time())
