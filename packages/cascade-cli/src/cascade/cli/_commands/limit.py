"""``cascade limit``."""

from typing import Any

import click

from cascade.cli._commands._steered import authored, steering, write
from cascade.cli.command import command as make
from cascade.cli.errors import USAGE, CommandError
from cascade.cli.params import RATE, SCOPE


@make(name="limit")
@click.argument("scope", type=SCOPE)
@click.option(
    "--concurrency", type=click.IntRange(min=0), metavar="N", help="Tasks that run at the same time."
)
@click.option("--rate", type=RATE, metavar="RATE", help="Starts: 10/s, 10/m, 10/h, or a number per second.")
@click.option(
    "--capacity", type=click.IntRange(min=1), metavar="N", help="Starts that may be saved up, for --rate."
)
@authored
@steering
def command(
    scope: str, concurrency: int | None, rate: float | str | None, capacity: int | None, **options: Any
) -> int:
    """Limit how many tasks of a scope run or start, in each engine.

    SCOPE is global, project:ID, source:ID, workflow:NAME, run:ID or task:PATTERN; a bare name is an engine.
    """
    if (concurrency is None) == (rate is None):
        raise CommandError("a limit is either of two", "pass --concurrency N or --rate 10/m", code=USAGE)
    if concurrency is not None:
        if capacity is not None:
            raise CommandError("--capacity has no effect here", "it belongs to --rate", code=USAGE)
        return write(scope, "concurrency", {"limit": concurrency}, **options)
    params = {"rate": rate} if capacity is None else {"rate": rate, "capacity": capacity}
    return write(scope, "rate_limit", params, **options)
