"""Calls for workers, and the processes that are left: those of the suite that every executor must pass."""

from cascade.testkit._executor import calls
from cascade.testkit._executor.children import children

__all__ = ["calls", "children"]
