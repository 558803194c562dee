"""An OTLP endpoint on this machine that keeps what it gets, or behaves badly."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver:
    """What has come.

    :param status: the answer to each request.
    :param seconds: until each answer.
    """

    def __init__(self, status: int = 200, seconds: float = 0.0) -> None:
        self.status, self.seconds = status, seconds
        self.spans: list[Any] = []
        """As the protocol has them."""
        self.sources: dict[bytes, dict[str, str]] = {}
        """What is said of the process of each span, by the id of the span."""
        self.metrics: dict[tuple[str, ...], float] = {}
        """By name and the values of the attributes in the order of their names; of a histogram the count."""
        self.requests = 0
        self.ended = threading.Event()

    def take(self, path: str, body: bytes) -> None:
        """Take a request."""
        self.requests += 1
        self.ended.wait(self.seconds)
        if self.status != 200:
            return
        if path == "/v1/traces":
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                said = {each.key: each.value.string_value for each in of_resource.resource.attributes}
                for span in (span for scope in of_resource.scope_spans for span in scope.spans):
                    self.spans.append(span)
                    self.sources[span.span_id] = said
        elif path == "/v1/metrics":
            for of_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for metric in (metric for scope in of_resource.scope_metrics for metric in scope.metrics):
                    self._take_metric(metric)

    def _take_metric(self, metric: Any) -> None:
        points = metric.gauge.data_points, metric.sum.data_points, metric.histogram.data_points
        for point in (point for kind in points for point in kind):
            values = [each.value.string_value for each in sorted(point.attributes, key=lambda each: each.key)]
            value = getattr(point, "count", None)
            self.metrics[metric.name, *values] = point.as_double or point.as_int if value is None else value


@contextlib.contextmanager
def receiving(receiver: Receiver) -> Iterator[str]:
    """Serve it for as long as the context lasts; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            with contextlib.suppress(OSError):
                self.send_response(receiver.status)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        receiver.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
