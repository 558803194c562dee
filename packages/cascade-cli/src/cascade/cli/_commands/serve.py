"""``cascade serve``."""

from __future__ import annotations

from typing import Any

import click

from cascade.cli._running.options import plan_of, serve_options
from cascade.cli._running.serving import serve_workflows
from cascade.cli._workflow.options import Source
from cascade.cli._workflow.source import offered
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.link import with_optional_broker
from cascade.cli.params import DURATION
from cascade.spec import Workflow


@make(name="serve")
@click.argument("files", type=Source(), nargs=-1, required=True, metavar="FILE.py[:NAME]...")
@with_optional_broker
@serve_options
@click.option(
    "--drain",
    type=DURATION,
    default=30.0,
    metavar="DURATION",
    help="How long active runs may take to end after SIGTERM; 30s unless given.",
)
def command(files: tuple[str, ...], *, drain: float, **options: Any) -> int:
    """Start the workflows of Python files when a message asks for it.

    NAME is a workflow, a function that returns a lazy result, or a lazy result; without it, all workflows of the
    file are offered. The engine needs a name. Without access rules, everybody at the broker can start what is
    offered. SIGTERM ends it with 143, Ctrl-C with 0.
    """
    workflows: list[Workflow[..., Any]] = []
    declared: dict[str, Any] = {}
    for file in files:
        found, of_file = offered(file)
        workflows += found
        declared |= of_file
    return serve_workflows(workflows, plan_of(declared, **options), settings(), drain=drain)
