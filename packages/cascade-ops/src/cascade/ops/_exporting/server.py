"""Serves metrics over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from cascade.cli.command import settings
from cascade.cli.errors import USAGE, CommandError
from cascade.ops._exporting.metrics import Metrics


@contextmanager
def served(metrics: Metrics, host: str, port: int) -> Iterator[None]:
    """Serve metrics at ``http://host:port/metrics`` for as long as the context lasts; port 0 is any free one.

    :raises CommandError: if the port cannot be opened.
    """
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
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Scrape(Collector):
    """Makes the samples when they are asked for."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.families(time.monotonic())
