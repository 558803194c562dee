"""``cascade clear``."""

from typing import Any

import click

from cascade.cli._commands._steered import lift, lifting, steering
from cascade.cli._steering import clearing
from cascade.cli.command import command as make
from cascade.cli.params import KIND, SCOPE


@make(name="clear")
@click.argument("scope", type=SCOPE)
@click.argument("type", type=KIND, required=False, default="")
@lifting("Clear only constraints with this id.")
@steering
def command(scope: str, type: str, name: str, **options: Any) -> int:  # noqa: A002 - the argument's name
    """Lift the constraints of a scope: those of one TYPE, or all of them.

    SCOPE is global, project:ID, source:ID, workflow:NAME, run:ID or task:PATTERN; a bare name is an engine. TYPE is
    pause, concurrency, rate_limit, cancel or gate.NAME.
    """
    return lift(scope, lambda registers: clearing(scope, type, registers, name=name), kind=type, **options)
