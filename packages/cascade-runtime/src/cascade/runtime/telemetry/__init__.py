"""Telemetry: from the event bus to a connector."""

from cascade.runtime.telemetry.redaction import describe, one_line
from cascade.runtime.telemetry.subscriber import TelemetrySubscriber

__all__ = ["TelemetrySubscriber", "describe", "one_line"]
