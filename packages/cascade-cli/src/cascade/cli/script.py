"""The command line of a script: ``cs.main(target)``. The SDK finds :func:`script` by its entry point."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from cascade.cli._drawing import draw
from cascade.cli._running.options import run_options, run_with
from cascade.cli._workflow.options import WorkflowCommand, taking_parameters
from cascade.cli.columns import Column
from cascade.cli.command import common_options, settings
from cascade.cli.link import with_optional_broker
from cascade.cli.main import run_command
from cascade.cli.output import Output
from cascade.runtime.starting import Startable, Target, startable
from cascade.spec import Workflow

_COLUMNS = [Column("id"), Column("kind"), Column("mode"), Column("needs")]


def script(
    target: Target | Callable[..., Any],
    *,
    arguments: Sequence[str] | None = None,
    declared: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Do what ``cascade run`` does for a target of the program itself; return the exit code.

    :param arguments: those of the process if None.
    :param declared: settings of the run, which options replace.
    """
    name = Path(sys.argv[0]).name or "script"
    return run_command(lambda: _command(target, name, declared), arguments, name=name)


def _command(target: Target | Callable[..., Any], name: str, declared: Mapping[str, Any]) -> click.Command:
    @taking_parameters
    @with_optional_broker
    @run_options
    @click.option("--graph", is_flag=True, help="Show the graph, and run nothing.")
    @click.option("--dry-run", is_flag=True, help="Check the parameters and list the steps, and run nothing.")
    def run(
        workflow: Startable, values: dict[str, Any], *, graph: bool, dry_run: bool, **options: Any
    ) -> int:
        if not graph and not dry_run:
            return run_with(workflow, values, settings(), **options)
        found, params = workflow.build(values, to_run=dry_run)
        output = settings().output
        if dry_run:
            _list_steps(found, params, output)
        if graph:
            output.text(str(draw(found, "json" if output.json else "tree")))
        return 0

    made = click.decorators.command(
        name=name,
        cls=WorkflowCommand,
        workflow=lambda: startable(target, name)._replace(settings=declared, workflow=_workflow(target)),
        help=_about_the_program(),
        context_settings={"help_option_names": ["-h", "--help"]},
    )(run)
    for each in made.params:
        if "--broker" in each.opts:
            # as cs.run calls it
            each.opts = ["--broker", "--connector"]
    return common_options(made)


def _workflow(target: object) -> str:
    return target.name if isinstance(target, Workflow) else ""


def _about_the_program() -> str:
    main = sys.modules.get("__main__")
    return (getattr(main, "__doc__", None) or "Run this workflow.").strip()


def _list_steps(target: Target, params: dict[str, Any], output: Output) -> None:
    from cascade import dry_run

    rows = [
        {
            "id": step.id,
            "kind": step.kind,
            "mode": step.mode,
            "needs": [edge.source for edge in step.edges],
        }
        for step in dry_run(target, params)
    ]
    output.rows(rows, _COLUMNS)
