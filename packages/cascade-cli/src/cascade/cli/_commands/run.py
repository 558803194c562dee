"""``cascade run``."""

from __future__ import annotations

from typing import Any

import click

from cascade.cli._running.options import run_options, run_with
from cascade.cli._workflow.options import Source, WorkflowCommand, taking_parameters
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.link import with_optional_broker
from cascade.runtime.starting import Startable


@make(name="run", cls=WorkflowCommand)
@click.argument("file", type=Source(), metavar="FILE.py[:NAME]")
@taking_parameters
@with_optional_broker
@run_options
def command(workflow: Startable, values: dict[str, Any], **options: Any) -> int:
    """Run a workflow of a Python file.

    NAME is a lazy result, or a function that returns one; it is "workflow" if left out. The workflow's own
    parameters are options, too: "cascade run FILE.py --help" lists them. The result is printed; the exit code
    is 0 when the run succeeded, 1 when it failed, 4 when a constraint cancelled it.
    """
    return run_with(workflow, values, settings(), **options)
