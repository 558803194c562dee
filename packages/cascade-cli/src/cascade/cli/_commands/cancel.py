"""``cascade cancel``."""

from typing import Any

import click

from cascade.cli._commands._steered import authored, steering, write
from cascade.cli.command import command as make
from cascade.cli.errors import USAGE, CommandError
from cascade.cli.params import SCOPE

TTL = 60.0
"""Seconds after which a cancellation expires, so that a run can begin again under the same id."""
_SCOPES = ("run", "task", "workflow", "source")


@make(name="cancel")
@click.argument("scope", type=SCOPE)
@authored
@steering
def command(scope: str, *, ttl: float | None, **options: Any) -> int:
    """Cancel a run, the tasks that match a pattern, or every run of a workflow or of an engine.

    SCOPE is run:ID, task:PATTERN, workflow:NAME or source:ID; a bare name is an engine. A cancel that does not name
    one run covers the runs that are active when it arrives. It expires after 60 s unless --ttl is given.
    """
    if scope.partition(":")[0] not in _SCOPES:
        remedy = "write run:ID, task:PATTERN, workflow:NAME or source:ID; cascade runs lists the runs"
        raise CommandError(f"{scope} cannot be cancelled as a whole", remedy, code=USAGE)
    return write(scope, "cancel", {}, ttl=TTL if ttl is None else ttl, **options)
