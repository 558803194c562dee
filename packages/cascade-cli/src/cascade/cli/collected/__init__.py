"""The SQLite file of ``cascade collect``, read while the collector writes it: nothing here changes it."""

from cascade.cli.collected.file import APPLICATION_ID, VERSION, CollectedFile, has_tables
from cascade.cli.collected.fold import CollectedRun
from cascade.cli.collected.runs import collected_runs

__all__ = ["APPLICATION_ID", "VERSION", "CollectedFile", "CollectedRun", "collected_runs", "has_tables"]
