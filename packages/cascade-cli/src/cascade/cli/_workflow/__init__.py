"""A workflow in a file: found, asked for its parameters, and made with their values."""

from cascade.cli._workflow.parameters import Parameter
from cascade.cli._workflow.source import load
from cascade.cli._workflow.workflow import Workflow, workflow_of

__all__ = ["Parameter", "Workflow", "load", "workflow_of"]
