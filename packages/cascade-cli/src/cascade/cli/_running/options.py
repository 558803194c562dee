"""The options of a run, which ``cascade run`` and a script's own command line share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import click

from cascade.cli._running.run import Plan, run_workflow
from cascade.cli.command import ParamType, Settings
from cascade.cli.link import Address
from cascade.runtime.starting import Startable


class _Resource(ParamType):
    name = "name=amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        key, sign, text = value.partition("=")
        try:
            amount = float(text) if sign and key else -1.0
        except ValueError:
            amount = -1.0
        if not 0 <= amount < float("inf"):
            self.fail(f"needs NAME=AMOUNT such as gpu=1, not {value!r}", param, ctx)
        return key, amount


_OPTIONS = (
    click.option(
        "--name",
        metavar="ENGINE",
        help="The name of this engine, as observers see it and commands address it.",
    ),
    click.option(
        "--executor", metavar="NAME", help="Where tasks without a mode run: thread, process, dask..."
    ),
    click.option(
        "--resource",
        type=_Resource(),
        multiple=True,
        help="How much there is of what tasks ask for, such as gpu=1; several times for several.",
    ),
    click.option(
        "--on-failure",
        type=click.Choice(["stop", "continue", "return"]),
        default="stop",
        show_default=True,
        help="After a failure: stop, run what does not need the failed task, or do that and print the values that there are.",
    ),
    click.option(
        "--state",
        metavar="FOLDER",
        type=click.Path(file_okay=False),
        help="Record the run in a folder, so that it goes on after a kill or a power cut.",
    ),
    click.option(
        "--run-id",
        metavar="ID",
        help="The id of the run; one that the folder has continues where it stopped.",
    ),
    click.option(
        "--resume",
        type=click.Choice(["auto", "cancelled"]),
        default="auto",
        show_default=True,
        help="Continue runs that were interrupted or failed; also those that were cancelled.",
    ),
    click.option(
        "--on-change",
        type=click.Choice(["refuse", "rerun", "keep"]),
        default="refuse",
        show_default=True,
        help="When completed steps have changed: refuse, run them again, or keep their results.",
    ),
    click.option(
        "--forget-control",
        is_flag=True,
        help="Begin without the constraints that the last process of this name obeyed.",
    ),
    click.option(
        "--events", metavar="FILE.jsonl", type=click.Path(dir_okay=False), help="Append each event to a file."
    ),
    click.option("--quiet", "-q", is_flag=True, help="Print the result and errors only."),
)


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a run."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), function)


def run_with(
    workflow: Startable,
    values: Mapping[str, Any],
    settings: Settings,
    *,
    address: Address | None,
    name: str | None,
    resource: tuple[tuple[str, float], ...],
    **options: Any,
) -> int:
    """Run a workflow with the options of the command line; return the exit code."""
    plan = Plan(address=address, source=name, resources=dict(resource), **options)
    target, params = workflow.build(values)
    return run_workflow(target, params, plan, settings)
