"""The SQLite file of ``cascade collect``, read while the collector writes it: nothing here changes it."""

from cascade.cli.collected.file import APPLICATION_ID, OF_LATEST_USE, VERSION, CollectedFile, has_tables

__all__ = ["APPLICATION_ID", "OF_LATEST_USE", "VERSION", "CollectedFile", "has_tables"]
