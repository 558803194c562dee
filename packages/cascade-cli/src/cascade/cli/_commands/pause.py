"""``cascade pause``."""

from typing import Any

import click

from cascade.cli._commands._steered import authored, steering, write
from cascade.cli._scopes import GLOBAL
from cascade.cli.command import command as make
from cascade.cli.params import SCOPE


@make(name="pause")
@click.argument("scope", type=SCOPE, default=GLOBAL)
@authored
@steering
def command(scope: str, **options: Any) -> int:
    """Stop tasks from starting; running tasks go on.

    SCOPE is global (the default), project:ID, source:ID, workflow:NAME, run:ID or task:PATTERN; a bare name is an engine.
    """
    return write(scope, "pause", {}, **options)
