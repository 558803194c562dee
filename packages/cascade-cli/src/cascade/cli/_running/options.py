"""The options of a run, which ``cascade run`` and a script's own command line share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import reduce
from typing import Any

import click
from click.core import ParameterSource

from cascade.cli._running.run import Plan, run_workflow
from cascade.cli._running.run_ids import choose
from cascade.cli.command import ParamType, Settings
from cascade.cli.link import Address
from cascade.runtime.starting import Startable, name_of


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


class _Label(ParamType):
    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        key, sign, text = value.partition("=")
        if not sign or not key:
            self.fail(f"needs KEY=VALUE such as site=hall-2, not {value!r}", param, ctx)
        return key, text


class _Starts(ParamType):
    name = "n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "none":
            return None
        if not value.isdecimal() or int(value) < 1:
            self.fail(f"needs a whole number from 1, or none, not {value!r}", param, ctx)
        return int(value)


_OF_EVERY_RUN = (
    click.option(
        "--name",
        "source",
        metavar="ENGINE",
        help="The name of this engine, as observers see it and commands address it.",
    ),
    click.option(
        "--executor", metavar="NAME", help="Where tasks without a mode run: thread, process, dask..."
    ),
    click.option(
        "--resource",
        "system_resources",
        type=_Resource(),
        multiple=True,
        help="How much there is of what tasks ask for, such as gpu=1; several times for several.",
    ),
    click.option(
        "--on-failure",
        type=click.Choice(["stop", "continue", "return"]),
        help="After a failure: stop, run what does not need the failed task, or do that and print the values that there are. Stop unless given.",
    ),
    click.option(
        "--state",
        metavar="FOLDER",
        type=click.Path(file_okay=False, readable=False),
        help="Record the run in a folder, so that it goes on after a kill or a power cut.",
    ),
    click.option(
        "--resume",
        type=click.Choice(["auto", "cancelled"]),
        help="Continue runs that were interrupted or failed (auto); also those that were cancelled.",
    ),
    click.option(
        "--on-change",
        type=click.Choice(["refuse", "rerun", "keep"]),
        help="When completed steps have changed: refuse (unless given), run them again, or keep their results.",
    ),
    click.option(
        "--max-starts",
        metavar="N",
        type=_Starts(),
        help="How often in a row the process may die in one step: 5 unless given; none for no limit.",
    ),
    click.option(
        "--forget-control",
        is_flag=True,
        help="Begin without the constraints that the last process of this name obeyed.",
    ),
    click.option(
        "--require-control", is_flag=True, help="Wait for the broker's constraints before the first task."
    ),
    click.option(
        "--cache",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Keep the values of cached tasks in a file for the next run.",
    ),
    click.option(
        "--outbox",
        metavar="FOLDER",
        type=click.Path(file_okay=False, readable=False),
        help="Keep events in a folder until the broker has them.",
    ),
    click.option("--logs", metavar="LEVEL", help="Send the lines that the run logs at this level and above."),
    click.option(
        "--label",
        "labels",
        type=_Label(),
        multiple=True,
        help="A label of this engine for observers, such as site=hall-2; several times for several.",
    ),
    click.option(
        "--tag",
        "tags",
        type=_Label(),
        multiple=True,
        help="A tag of the run for observers, such as line=3; several times for several.",
    ),
    click.option("--quiet", "-q", is_flag=True, help="Print the result and errors only."),
)
_OF_ONE_RUN = (
    click.option("--run-name", "name", metavar="TEXT", help="The name of the run, as observers see it."),
    click.option(
        "--run-id",
        metavar="ID",
        help="The id of the run; one that the folder has continues where it stopped. {date}, {time} and {host} are replaced.",
    ),
    click.option(
        "--continue",
        "continues",
        is_flag=True,
        help="Go on with the last run of this workflow in the folder that has not ended; without one, begin a new run.",
    ),
    click.option(
        "--events", metavar="FILE.jsonl", type=click.Path(dir_okay=False), help="Append each event to a file."
    ),
)


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a run."""
    return reduce(lambda made, option: option(made), reversed((*_OF_EVERY_RUN, *_OF_ONE_RUN)), function)


def serve_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a service: those that hold for every run."""
    return reduce(lambda made, option: option(made), reversed(_OF_EVERY_RUN), function)


def run_with(
    workflow: Startable,
    values: Mapping[str, Any],
    settings: Settings,
    *,
    continues: bool,
    **options: Any,
) -> int:
    """Run a workflow with the options of the command line and the settings of its file; return the exit code."""
    plan = plan_of(workflow.settings, **options)
    target, params = workflow.build(values, to_run=False)
    choice = choose(name_of(target), plan.keywords, continues=continues, now=datetime.now().astimezone())
    if choice.recorded is None:
        # otherwise those of the record count
        workflow.check_inputs(target, params)
    keywords = {**plan.keywords, **({} if choice.run_id is None else {"run_id": choice.run_id})}
    if workflow.workflow:
        keywords["workflow"] = workflow.workflow
    return run_workflow(target, params, plan._replace(keywords=keywords, choice=choice), settings)


def plan_of(
    declared: Mapping[str, Any],
    *,
    address: Address | None,
    source: str | None,
    quiet: bool,
    events: str | None = None,
    **options: Any,
) -> Plan:
    """Return the plan of the options of the command line and the settings of a file."""
    given = _given(options)
    keywords = {**declared, **given}
    for name in ("system_resources", "labels", "tags"):
        if name in given and declared.get(name):
            # an option adds to what the file has
            keywords[name] = {**declared[name], **given[name]}
    if quiet:
        keywords["progress"] = False
    return Plan(address, source, keywords, frozenset(declared.keys() - given.keys()), events, quiet)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the command line has, as keywords of a run."""
    context = click.get_current_context()
    unless_given = (ParameterSource.DEFAULT, None)
    return {
        name: dict(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if context.get_parameter_source(name) not in unless_given
    }
