"""A connector whose other side a test controls."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cascade.interfaces import Delivery
from cascade.runtime._outbox.settings import OutboxSettings, checked

TOPIC = "cascade/telemetry/local/default/run/events"


class FakeLink:
    """Keeps what it is given while it is ``up=False``; takes it at once otherwise."""

    def __init__(self, source_id: str = "press", *, up: bool = True) -> None:
        self._source_id = source_id
        self._connected = True
        self.up = up
        self.verdict = Delivery.TAKEN
        self.taken: list[dict[str, Any]] = []
        self.held: list[tuple[str, Callable[[Delivery], None]]] = []
        self.most_held = 0
        self.subscribed: dict[str, Callable[..., Any]] = {}

    @property
    def source_id(self) -> str:
        return self._source_id

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def presence(self) -> None:
        return None

    def before_disconnect(self, callback: Callable[[], object]) -> Callable[[], None]:
        return lambda: None

    async def connect(self) -> None:
        self._connected = True

    async def disconnect(self) -> None:
        self._connected = False
        held, self.held = self.held, []
        for _, settled in held:
            settled(Delivery.RETURNED)

    async def publish(
        self, topic: str, payload: Mapping[str, Any] | None, qos: int = 0, *, retain: bool = False
    ) -> None:
        raise AssertionError("everything goes through deliver_nowait")

    async def subscribe(self, topic: str, callback: Callable[..., Any], qos: int = 0) -> Any:
        self.subscribed[topic] = callback
        return self

    async def unsubscribe(self) -> None:
        self.subscribed.clear()

    def deliver_nowait(
        self, topic: str, payload: str, qos: int = 1, *, settled: Callable[[Delivery], None]
    ) -> None:
        if not self._connected:
            settled(Delivery.RETURNED)
            return
        self.held.append((payload, settled))
        self.most_held = max(self.most_held, len(self.held))
        if self.up:
            self.settle()

    def settle(self, count: int | None = None) -> None:
        """Settle what is held, the oldest first."""
        some, self.held = self.held[:count], self.held[len(self.held) if count is None else count :]
        for payload, settled in some:
            if self.verdict is Delivery.TAKEN:
                self.taken.append(json.loads(payload))
            settled(self.verdict)

    def numbers(self) -> list[int]:
        """Return the ``seq`` of what was taken."""
        return [message["seq"] for message in self.taken]


def event(seq: int, *, source: str = "press", token: str = "c41e07d2", **more: Any) -> dict[str, Any]:
    """Return an event as telemetry makes it."""
    return {
        "v": "1.0",
        "run_id": "run",
        "source": source,
        "seq": seq,
        "token": token,
        "event_id": f"run-{token}-{seq}",
        **more,
    }


def settings_of(folder: Path, *, ack: str | None = None) -> OutboxSettings:
    """Return settings of an outbox that writes each message at once and keeps it for a day."""
    return checked(
        folder,
        max_bytes=1 << 20,
        max_age=dt.timedelta(days=1),
        power_safe=False,
        delay=0.0,
        order="oldest",
        ack=ack,
    )
