"""A service in the loop of the test, whose runs end when the test says so."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Literal

import msgspec

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit.brokers import Broker


class Shift:
    """What the service has been asked for, and the event for which its runs wait."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.over = asyncio.Event()

    @property
    def audit(self) -> cs.Workflow[..., Any]:
        """A workflow with a parameter of each kind."""

        @cs.task
        async def inspect(asked: dict[str, Any]) -> str:
            self.asked.append(asked)
            await self.over.wait()
            return "done"

        @cs.workflow
        def audit(
            number: Annotated[int, msgspec.Meta(ge=1, le=500, description="how many parts there are")],
            note: Annotated[str, msgspec.Meta(pattern="^[a-z ]*$")] = "night shift",
            speed: Annotated[float, msgspec.Meta(gt=0)] = 1.5,
            mode: Literal["quick", "whole"] = "quick",
            *,
            strict: bool = False,
            day: dt.date | None = None,
            sizes: list[int] = [1],  # noqa: B006 - as people write it
        ) -> cs.LazyResult[str]:
            """Inspect parts and count the good ones."""
            return inspect(
                {"number": number, "note": note, "speed": speed, "mode": mode, "strict": strict, "day": day, "sizes": sizes}
            )  # fmt: skip

        return audit


@asynccontextmanager
async def serving(broker: Broker, source: str, *offered: Any, **login: str) -> AsyncIterator[None]:
    """Serve for as long as the context lasts; ``login`` are options of the connector."""
    connector = MqttConnector.from_url(f"{broker.url}?source_id={source}", keepalive=120, **login)
    task = asyncio.create_task(cs.aserve(*offered, connector=connector, drain=0), name="service")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
