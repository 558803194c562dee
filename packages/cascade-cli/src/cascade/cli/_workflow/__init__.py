"""A workflow in a file: found, and asked for its parameters on the command line."""

from cascade.cli._workflow.source import load

__all__ = ["load"]
