"""The connector's contract inside one process: for notebooks, examples and tests."""

from cascade.runtime.local.connector import LocalConnector, LocalHub

__all__ = ["LocalConnector", "LocalHub"]
