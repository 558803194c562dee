"""``cascade serve``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import click

from cascade.cli._running.keywords import in_words_of_the_command
from cascade.cli._running.options import plan_of, serve_options
from cascade.cli._running.serving import serve_workflows
from cascade.cli._workflow.options import Source
from cascade.cli._workflow.source import offered
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.errors import USAGE, CommandError
from cascade.cli.link import with_optional_broker
from cascade.cli.params import DURATION
from cascade.interfaces import ConfigurationError
from cascade.spec import Workflow

_OF_A_WORKFLOW = ("cron", "every", "tz", "overlap", "missed", "lease", "lease_ttl")
_SETTING = re.compile(r"\bworkflow\((\w+)=\)")
_KEYWORD = re.compile(rf"\b({'|'.join(_OF_A_WORKFLOW)})=(?:'([^']*)'|(?=\W*(?:\s|$)))")


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
@click.option(
    "--cron",
    metavar="TEXT",
    help="Start it by the clock: minute, hour, day of the month, month, day of the week.",
)
@click.option("--every", metavar="DURATION", help="Start it after each interval: 90s, 10m, 2h, 1d.")
@click.option(
    "--tz", metavar="ZONE", help="Time zone of --cron, such as Europe/Berlin; the machine's unless given."
)
@click.option(
    "--overlap",
    type=click.Choice(["skip", "queue", "allow"]),
    help="While a run goes on, a start is refused (skip, unless given), waits, or is allowed.",
)
@click.option(
    "--missed",
    type=click.Choice(["none", "one", "all"]),
    help="Of the ticks that were missed, start none, the newest (one, unless given), or the newest hundred (all).",
)
@click.option(
    "--lease",
    metavar="NAME",
    help="Only the machine that holds this lease starts ticks; needs an MQTT broker.",
)
@click.option(
    "--lease-ttl",
    metavar="DURATION",
    help="How long the others listen before they take the lease over; 30s unless given.",
)
def command(files: tuple[str, ...], *, drain: float, **options: Any) -> int:
    """Start the workflows of Python files when a message asks for it, or by the clock.

    NAME is a workflow, a function that returns a lazy result, or a lazy result; without it, all workflows of the
    file are offered. The engine needs a name. Without access rules, everybody at the broker can start what is
    offered. SIGTERM ends it with 143, Ctrl-C with 0.

    A workflow may have a schedule where it is declared; --cron and what follows it give one to the only workflow named here.
    A schedule needs no broker.
    """
    given = {name: value for name in _OF_A_WORKFLOW if (value := options.pop(name)) is not None}
    workflows: list[Workflow[..., Any]] = []
    declared: dict[str, Any] = {}
    settings().program_is_imported()
    for file in files:
        found, of_file = offered(file)
        workflows += found
        declared |= of_file
    if given:
        workflows = [_changed(workflows, given)]
    try:
        return serve_workflows(workflows, plan_of(declared, **options), settings(), drain=drain)
    except ConfigurationError as error:
        text = in_words_of_the_command(str(error), declared)
        raise CommandError(_with_options(text, given), code=USAGE) from error


def _changed(workflows: Sequence[Workflow[..., Any]], given: Mapping[str, Any]) -> Workflow[..., Any]:
    """Return the only workflow with what the command line says of it.

    :raises CommandError: if there are several, or a value is wrong.
    """
    if len(workflows) > 1:
        names = ", ".join(each.name for each in workflows)
        options = " and ".join(map(_option, given))
        raise CommandError(f"{options} cannot be for {names}", "name one workflow: FILE.py:NAME", code=USAGE)
    (found,) = workflows
    declared = {name: getattr(found, name) for name in _OF_A_WORKFLOW}
    if "cron" in given or "every" in given:
        # another schedule in its place
        declared |= {"cron": None, "every": None, "tz": None}
    try:
        return Workflow(found.function, name=found.name, answer=found.answer, **{**declared, **given})
    except ConfigurationError as error:
        raise CommandError(_with_options(str(error), given), code=USAGE) from error


def _with_options(text: str, given: Collection[str]) -> str:
    """Return an error with options in place of the keywords of a workflow that options have given."""
    if not given:
        return text
    text = _SETTING.sub(lambda found: _option(found[1]) if found[1] in given else found[0], text)
    return _KEYWORD.sub(lambda found: f"{_option(found[1])}{' ' if found[2] else ''}{found[2] or ''}", text)


def _option(keyword: str) -> str:
    return f"--{keyword.replace('_', '-')}"
