"""Traces of runs for OpenTelemetry: ``cs.run(target, observers=["otel"])``."""

from cascade.observers.otel._observer import OtelObserver

__all__ = ["OtelObserver"]
