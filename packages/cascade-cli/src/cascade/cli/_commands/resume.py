"""``cascade resume``."""

from typing import Any

import click

from cascade.cli._commands._steered import lift, lifting, steering
from cascade.cli._scopes import GLOBAL
from cascade.cli._steering import clearing
from cascade.cli.command import command as make
from cascade.cli.params import SCOPE


@make(name="resume")
@click.argument("scope", type=SCOPE, default=GLOBAL)
@lifting("Lift the pause only if it has this id.")
@steering
def command(scope: str, name: str, **options: Any) -> int:
    """Lift the pause of a scope.

    SCOPE is global (the default), project:ID, source:ID, workflow:NAME, run:ID or task:PATTERN; a bare name is an engine.
    """
    return lift(
        scope, lambda registers: clearing(scope, "pause", registers, name=name), kind="pause", **options
    )
