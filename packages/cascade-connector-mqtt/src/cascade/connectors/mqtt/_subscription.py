"""What ``subscribe`` returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cascade.connectors.mqtt._listeners import CallbackListener


class MqttSubscription:
    """One callback's registration with a connector."""

    def __init__(
        self, listener: CallbackListener, unsubscribe: Callable[[CallbackListener], Awaitable[None]]
    ) -> None:
        self._listener = listener
        self._unsubscribe = unsubscribe

    async def unsubscribe(self) -> None:
        """End the registration: no call begins after this returns. Twice is harmless."""
        await self._unsubscribe(self._listener)

    def __repr__(self) -> str:
        return f"<MqttSubscription {self._listener.filter}>"
