"""Engines in the loop of the test: what they do waits for the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit.brokers import Broker


@asynccontextmanager
async def engine(broker: Broker, source: str, **options: Any) -> AsyncIterator[cs.Engine]:
    """Connect an engine; ``options`` are its own. A slow test machine does not make the broker call it lost."""
    connector = MqttConnector.from_url(f"{broker.url}?source_id={source}", keepalive=120)
    async with connector:
        yield cs.Engine(connector=connector, **options)


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """Let a run go on for as long as the context lasts, then cancel it."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task
