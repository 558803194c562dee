"""Cascade's connector for NATS servers."""

from cascade.connectors.nats.connector import NatsConnector

__all__ = ["NatsConnector"]
