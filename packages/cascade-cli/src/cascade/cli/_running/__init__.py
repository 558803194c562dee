"""Run a workflow in this process, and say what became of it."""

from cascade.cli._running.run import Plan, run_workflow

__all__ = ["Plan", "run_workflow"]
