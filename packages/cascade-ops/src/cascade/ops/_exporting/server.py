"""Serves metrics over HTTP, and follows the broker for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from cascade.cli import link
from cascade.cli.command import settings
from cascade.cli.errors import USAGE, CommandError
from cascade.cli.link import Address
from cascade.cli.snapshot import CONSTRAINTS, RUNS, STATUS, WORKFLOWS
from cascade.interfaces.watch import Lost, Message
from cascade.ops._exporting.metrics import Metrics


@asynccontextmanager
async def served(address: Address, host: str, port: int) -> AsyncIterator[Metrics]:
    """Serve metrics at ``http://host:port/metrics`` for as long as the context lasts; port 0 is any free one.

    The connection is one of its own, without a session: reports of a time in which nothing read them are not news.

    :raises CommandError: if the port cannot be opened.
    """
    metrics = Metrics()
    registry = CollectorRegistry()
    registry.register(_Scrape(metrics))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise CommandError(
            f"{host}:{port} cannot be opened: {error.strerror}", "choose another for --prometheus", code=USAGE
        ) from error
    where = f"[{host}]" if ":" in host else host
    settings().output.note(f"metrics are served at http://{where}:{server.server_port}/metrics")
    try:
        async with link.connected(address, waits=True) as connector, _followed(connector, metrics):
            yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@asynccontextmanager
async def _followed(connector: link.Link, metrics: Metrics) -> AsyncIterator[None]:
    """Follow the broker for as long as the context lasts."""
    following = asyncio.ensure_future(_follow(connector, metrics))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


class _Scrape(Collector):
    """Makes the samples when they are asked for."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.families(time.monotonic())


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
