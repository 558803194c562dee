"""Sends what one thread makes to an OTLP endpoint, from another thread; a bad endpoint delays nobody and is reported once."""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

MOST = 50_000
"""Spans that wait for the endpoint; of more, the oldest are dropped."""
SPANS = "spans"
_AT_ONCE = 512
_GATHER = 0.2  # seconds for which spans gather to share a request
_PAUSE = 5.0  # seconds without a request after one that failed
_CAUSE = re.compile(r"\[(?:Errno|SSL)[^]]*\] ([^()\"']+)")
"""The error of the system or of TLS within the errors of the HTTP client around it."""


class Endpoint:
    """Whether an endpoint takes what it is sent; says so when that changes.

    :param note: called with a text for the user, in any thread.
    """

    def __init__(self, url: str, note: Callable[[str], object]) -> None:
        self._url = url
        self._note = note
        self._lock = threading.Lock()
        self._failing: set[str] = set()
        self._lost = 0
        self._took_spans = False  # since a failure was said
        self.reason = _Reason()

    def failed(self, what: str, count: int = 0) -> None:
        """Note that it has not taken something, and how many spans that were."""
        why = self.reason.take() or "it did not say why"
        with self._lock:
            # one that takes no spans takes nothing, and many take spans alone: each is said once
            new = not self._failing & {what, SPANS} and (not self._failing or self._took_spans)
            self._failing.add(what)
            self._took_spans = self._took_spans and not new
            self._lost += count
        if new:
            self._note(
                f"the OTLP endpoint {self._url} does not take the {what}: {why}; the collector goes on without it, "
                "and tries again; check --otlp and OTEL_EXPORTER_OTLP_HEADERS"
            )

    def dropped(self, count: int) -> None:
        """Note spans that had no room."""
        with self._lock:
            self._lost += count

    def works(self, what: str) -> None:
        """Note that it has taken something."""
        self._took_spans = self._took_spans or what == SPANS
        if what not in self._failing:
            return
        with self._lock:
            self._failing.discard(what)
            lost = self._lost if what == SPANS else 0
            self._lost -= lost
        without = f"; it has not got {lost} spans" if lost else ""
        self._note(f"the OTLP endpoint {self._url} takes the {what} again{without}")

    def close(self, count: int) -> None:
        """Say how many spans it has not got, with so many that are left at the end; say no more after that."""
        with self._lock:
            lost, note = self._lost + count, self._note
            self._note = _say_nothing
        if lost:
            note(f"the collector ends, and the OTLP endpoint {self._url} has not got {lost} spans")


def _say_nothing(_text: str) -> None:
    """Ignore a text."""


class _Reason(logging.Handler):
    """Keeps the first thing that the SDK logs of a failure instead of showing it: it logs each try."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self._text = self._text or record.getMessage()

    def take(self) -> str:
        """Return the line in a form for a sentence, and forget it."""
        text, self._text = self._text, ""
        if cause := _CAUSE.search(text):
            return cause[1].strip()
        return text.removeprefix("Transient error ").partition(" encountered while")[0].strip().rstrip(".")


class Sender(SpanProcessor):
    """Sends spans that have ended in batches, from a thread of its own. The queue has a bound: the oldest go first."""

    def __init__(self, exporter: SpanExporter, endpoint: Endpoint, *, most: int = MOST) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._most = most
        self.is_muted = False
        """Whether it takes no span."""
        self._spans: deque[ReadableSpan] = deque()
        self._under_way = 0
        self._changed = threading.Condition()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="cascade otlp", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended."""
        if self.is_muted or span.context is None or not span.context.trace_flags.sampled:
            return
        with self._changed:
            self._spans.append(span)
            over = len(self._spans) > self._most
            if over:
                self._spans.popleft()
            self._changed.notify()
        if over:
            self._endpoint.dropped(1)

    def close(self, timeout: float) -> None:
        """Send what waits, for so many seconds; report what is left."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        self._thread.join(timeout)
        self._exporter.shutdown()
        self._thread.join(0.5)
        self._endpoint.close(self._under_way + len(self._spans))

    def wait(self) -> None:
        """Return when it sends no more, after ``close``."""
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._spans and not self._is_ending:
                    self._changed.wait()
                self._changed.wait_for(self._enough, _GATHER)
                batch = [self._spans.popleft() for _ in range(min(_AT_ONCE, len(self._spans)))]
                self._under_way = len(batch)
            if not batch or not (self._sent(batch) or self._may_go_on()):
                return

    def _enough(self) -> bool:
        return self._is_ending or len(self._spans) >= _AT_ONCE

    def _sent(self, batch: Sequence[ReadableSpan]) -> bool:
        try:
            taken = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception as exc:
            self._endpoint.reason.emit(logging.makeLogRecord({"msg": repr(exc)}))
            taken = False
        self._under_way = 0
        if taken:
            self._endpoint.works(SPANS)
        else:
            self._endpoint.failed(SPANS, len(batch))
        return taken

    def _may_go_on(self) -> bool:
        """Wait after a failure, unless the end has come: then what is left is lost."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._is_ending, _PAUSE)


class SentMetrics(MetricExporter):
    """Sends metrics, and notes whether the endpoint takes them."""

    def __init__(self, exporter: MetricExporter, endpoint: Endpoint) -> None:
        super().__init__()
        self._exporter = exporter
        self._endpoint = endpoint

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any) -> Any:
        """Send metrics."""
        result = self._exporter.export(metrics_data, timeout_millis, **more)
        if result is MetricExportResult.SUCCESS:
            self._endpoint.works("metrics")
        else:
            self._endpoint.failed("metrics")
        return result

    def shutdown(self, timeout_millis: float = 30_000, **more: Any) -> None:
        """Send no more."""
        self._exporter.shutdown(timeout_millis, **more)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Nothing waits here."""
        return True
