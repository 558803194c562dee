"""A connector that writes telemetry to a file."""

from cascade.runtime.file.connector import FileConnector

__all__ = ["FileConnector"]
