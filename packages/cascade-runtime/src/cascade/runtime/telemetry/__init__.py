"""Telemetry: from the event bus to a connector."""

from cascade.runtime.telemetry.subscriber import TelemetrySubscriber

__all__ = ["TelemetrySubscriber"]
