"""A run of a workflow in this process, and its report."""

from cascade.cli._running.run import Plan, run_workflow

__all__ = ["Plan", "run_workflow"]
