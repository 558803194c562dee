"""``cascade start``."""

from __future__ import annotations

import re
import secrets
from typing import Any

import click

from cascade.cli import link
from cascade.cli._starting import EVERY, Start, exit_code_of, start
from cascade.cli._workflow.options import Pair
from cascade.cli.command import ParamType, settings
from cascade.cli.command import command as make
from cascade.cli.link import Address, note_place, with_broker
from cascade.cli.params import DURATION


class _Id(ParamType):
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
            self.fail("needs 1 to 64 of the characters A-Z a-z 0-9 . _ -", param, ctx)
        return value


@make(name="start")
@click.argument("workflow", metavar="WORKFLOW")
@click.option(
    "-p",
    "--param",
    type=Pair(),
    multiple=True,
    help="A parameter of the workflow. KEY=@FILE and KEY=env:NAME keep a secret out of the process list.",
)
@click.option(
    "--on", "source", metavar="SOURCE", default="", help=f"The engine; {EVERY} asks every one that offers it."
)
@click.option(
    "--id",
    "id_",
    type=_Id(),
    metavar="TEXT",
    help="The same id never starts a second run; random unless given.",
)
@click.option("--by", default="", metavar="TEXT", help="Who asks.")
@click.option("--wait", is_flag=True, help="Wait for the end of the run, without a limit.")
@click.option(
    "--timeout",
    type=DURATION,
    default=15.0,
    metavar="DURATION",
    help="How long to wait for the acceptance; 15s unless given.",
)
@with_broker
def command(
    address: Address,
    workflow: str,
    param: tuple[tuple[str, str], ...],
    source: str,
    id_: str | None,
    *,
    by: str,
    wait: bool,
    timeout: float,
) -> int:
    """Start a workflow that an engine offers; "cascade workflows" lists them.

    The exit code is 0 when it is accepted, or with --wait when the run succeeded, 1 when it is refused or failed or
    nobody answers, 4 when a constraint cancelled it. A parameter that the workflow does not take is 2, and nothing
    is sent.
    """
    asked = Start(workflow, dict(param), source, id_ or secrets.token_hex(8), by, wait, timeout)
    output = settings().output
    note_place(address, output)

    async def work() -> list[dict[str, Any]]:
        async with link.connected(address) as connector:
            return await start(connector, asked, output)

    rows = link.run(work(), debug=settings().debug)
    if output.json:
        output.document(rows)
    return exit_code_of(rows)
