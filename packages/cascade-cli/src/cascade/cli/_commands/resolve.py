"""``cascade resolve``."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import click

from cascade.cli._commands._recorded import state_in, state_option
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.errors import USAGE, CommandError


@make(name="resolve")
@click.argument("run")
@click.argument("step")
@click.option("--value", metavar="JSON", help="It was done, and this is its value.")
@click.option("--again", is_flag=True, help="It was not done: the next resume calls it.")
@click.option("--fail", is_flag=True, help="It failed; the next resume calls it again.")
@state_option
def command(run: str, step: str, *, value: str | None, again: bool, fail: bool, state: str | None) -> None:
    """Record whether a step that runs at most once was done.

    A step of "task.at_most_once()" is in doubt when its process died while it ran; "cascade history RUN" lists it
    as in_doubt, and the run does not go on before the doubt is resolved.
    """
    if (value is not None) + again + fail != 1:
        raise CommandError("no outcome is given", "give one of --value JSON, --again and --fail", code=USAGE)
    resolution, known = ("again", None) if again else ("fail", None) if fail else ("value", _parsed(value))
    asyncio.run(state_in(state).resolve(run, step, resolution, known))  # type: ignore[arg-type]  # three literals
    settings().output.note(f"step {step} is resolved; run {run} again with its run id")


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except ValueError as error:
        raise CommandError(
            f"--value is not JSON: {error}", "write --value true, or --value '\"text\"'", code=USAGE
        ) from error
