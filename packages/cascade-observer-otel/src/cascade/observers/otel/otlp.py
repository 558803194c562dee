"""Sends traces and metrics of other processes to an OTLP endpoint: for a program that reads their messages.

It needs the SDK and the exporter over HTTP: ``pip install "cascade-observer-otel[otlp]"``.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider

from cascade.interfaces.logs import get_logger
from cascade.observers.otel._metrics import BUCKETS
from cascade.observers.otel._observer import OtelObserver
from cascade.observers.otel._sending import Endpoint, Sender, SentMetrics

MOST_SOURCES = 1_000
"""Processes of which a resource is kept."""
_SDK = "opentelemetry"


class Source(NamedTuple):
    """A process that executes runs."""

    name: str
    org_id: str
    project_id: str


class Metric(NamedTuple):
    """A number of which each process has its own."""

    name: str
    description: str
    is_counter: bool
    """Whether it only grows."""


Sample = tuple[float, Mapping[str, str]]
"""A value with its attributes."""


class OtlpExport:
    """An OTLP endpoint, and what sends to it.

    A wrong, slow or full endpoint delays nothing: 50,000 spans wait for it in memory, then the oldest are dropped.

    :param url: of the endpoint, such as ``http://127.0.0.1:4318``; ``/v1/traces`` and ``/v1/metrics`` are appended. Headers and
        time limits are read from the variables ``OTEL_EXPORTER_OTLP_...``, the service's name from ``OTEL_SERVICE_NAME``.
    :param note: called with one text when the endpoint begins to fail, one when it works again, and one at
        the end if spans are lost; in any thread.
    """

    def __init__(self, url: str, *, note: Callable[[str], object]) -> None:
        base = url.rstrip("/")
        self._endpoint = Endpoint(_without_login(base), note)
        self._sender = Sender(OTLPSpanExporter(endpoint=f"{base}/v1/traces"), self._endpoint)
        metrics = SentMetrics(OTLPMetricExporter(endpoint=f"{base}/v1/metrics"), self._endpoint)
        # a program of its own has configured the SDK for nothing else
        self._meters = MeterProvider(
            [PeriodicExportingMetricReader(metrics)], resource=_resource(), shutdown_on_exit=False
        )
        self._observers: OrderedDict[Source, OtelObserver] = OrderedDict()
        self._logger = get_logger(_SDK)
        self._propagated = self._logger.propagate
        self._logger.propagate = False
        self._logger.addHandler(self._endpoint.reason)

    def observer(self, source: Source) -> OtelObserver:
        """Return what makes traces of the runs of a process."""
        found = self._observers.pop(source, None)
        if found is None:
            provider = TracerProvider(resource=_resource(source), shutdown_on_exit=False)
            provider.add_span_processor(self._sender)
            found = OtelObserver(provider)
        self._observers[source] = found
        if len(self._observers) > MOST_SOURCES:
            self._observers.popitem(last=False)
        return found

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Send no span that ends meanwhile: it was sent before."""
        self._sender.is_muted = True
        try:
            yield
        finally:
            self._sender.is_muted = False

    def publish(self, metrics: Iterable[Metric], read: Callable[[str], Iterable[Sample]]) -> None:
        """Send what ``read`` returns for the name of each metric once a minute, or as ``OTEL_METRIC_EXPORT_INTERVAL`` says."""
        meter = self._meters.get_meter("cascade")
        for metric in metrics:
            make = meter.create_observable_counter if metric.is_counter else meter.create_observable_gauge
            make(metric.name, [partial(_observed, read, metric.name)], description=metric.description)

    def durations(self, name: str, description: str) -> Callable[[float, Mapping[str, str]], None]:
        """Return what records a duration in seconds, with its attributes, in a histogram."""
        meter = self._meters.get_meter("cascade")
        return meter.create_histogram(
            name, unit="s", description=description, explicit_bucket_boundaries_advisory=BUCKETS
        ).record

    def close(self, timeout: float = 3.0) -> None:
        """Send what waits, for so many seconds; report how many spans are lost."""
        until = time.monotonic() + timeout
        # the reader waits for an answer, whatever limit it is given
        ending = threading.Thread(target=self._end, name="cascade otlp end", daemon=True)
        ending.start()
        self._sender.close(timeout)
        ending.join(max(0.0, until - time.monotonic()))

    def _end(self) -> None:
        """Let the SDK log again once nothing sends: a request that is under way fails after the end, too."""
        self._meters.shutdown()
        self._sender.wait()
        self._logger.removeHandler(self._endpoint.reason)
        self._logger.propagate = self._propagated


def _resource(source: Source | None = None) -> Resource:
    """Return what is said of a process in each of its spans; the variables of the SDK count instead of these."""
    said = {SERVICE_NAME: "cascade"}
    if source is not None:
        said["service.instance.id"] = source.name
        said["service.namespace"] = f"{source.org_id}/{source.project_id}"
    return Resource.create(said).merge(OTELResourceDetector().detect())


def _without_login(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _observed(
    read: Callable[[str], Iterable[Sample]], name: str, _options: CallbackOptions
) -> Iterator[Observation]:
    for value, attributes in read(name):
        yield Observation(value, attributes)
