"""Follows the broker for its metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cascade.cli import link
from cascade.cli.command import settings
from cascade.cli.link import Address
from cascade.cli.snapshot import CONSTRAINTS, RUNS, STATUS, WORKFLOWS
from cascade.interfaces.watch import Lost, Message
from cascade.ops._exporting.metrics import Metrics


@asynccontextmanager
async def followed(address: Address, metrics: Metrics) -> AsyncIterator[None]:
    """Follow the broker for as long as the context lasts.

    The connection is one of its own, without a session: reports of a time in which nothing read them are not news.
    """
    async with link.connected(address, waits=True) as connector:
        following = asyncio.ensure_future(_follow(connector, metrics))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _follow(connector: link.Link, metrics: Metrics) -> None:
    try:
        async for item in connector.watch(STATUS, RUNS, CONSTRAINTS, WORKFLOWS, "cascade/state/+/summary"):
            if isinstance(item, Message):
                metrics.fold(item.topic, item.payload, now=time.monotonic(), retained=item.retain)
            else:
                metrics.linked = not isinstance(
                    item, Lost
                )  # Complete follows where only messages were missed
    except Exception as error:
        # the collector goes on, and cascade_broker_up shows that the metrics do not
        settings().output.note(f"the metrics stand still: {error!r}; start the collector again")
    finally:
        metrics.linked = False
