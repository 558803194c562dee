"""Options of the commands that steer, and how they are run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from cascade.cli import link
from cascade.cli._scopes import BareName
from cascade.cli._steering import Answers, Change, Wait, exact_topics, reports_on, setting, steer
from cascade.cli.command import settings
from cascade.cli.errors import USAGE, CommandError
from cascade.cli.link import Address
from cascade.cli.params import DURATION
from cascade.cli.snapshot import REGISTERS
from cascade.interfaces.topics import constraint_topic
from cascade.wire import Register

Plan = Callable[[Mapping[str, Register]], Change]


def steering(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that steers: the broker, and how to wait for the engines."""
    function = click.option(
        "--timeout",
        type=DURATION,
        default=15.0,
        metavar="DURATION",
        help="How long --wait waits. [default: 15s]",
    )(function)
    function = click.option("--drained", is_flag=True, help="Wait until nothing in the scope runs, too.")(
        function
    )
    function = click.option("--wait", is_flag=True, help="Wait for the engines, and print what each does.")(
        function
    )
    return link.with_broker(function)


def authored(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a constraint: its expiry, its id and its author."""
    function = click.option("--by", metavar="TEXT", default="", help="The author, for cascade constraints.")(
        function
    )
    function = click.option("--id", "name", metavar="TEXT", default="", help="The id of the constraint.")(
        function
    )
    return click.option(
        "--ttl", type=DURATION, metavar="DURATION", help="When it expires: 90s, 10m, 2h, 1d."
    )(function)


def lifting(which: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of a command that lifts constraints; they have the same names as those of a constraint.

    :param which: help of ``--id``.
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        function = click.option("--by", metavar="TEXT", default="", help="As for pause; no effect here.")(
            function
        )
        function = click.option("--id", "name", metavar="TEXT", default="", help=which)(function)
        return click.option("--ttl", type=DURATION, metavar="DURATION", help="As for pause; no effect here.")(
            function
        )

    return add


def write(
    scope: str,
    kind: str,
    params: Mapping[str, Any],
    *,
    address: Address,
    ttl: float | None,
    name: str,
    by: str,
    **waiting: Any,
) -> int:
    """Put a constraint into force; return the exit code."""
    change = setting_of(scope, kind, params, ttl=ttl, name=name, by=by)
    return run(address, scope, [change.topic], lambda registers: change, **waiting)


def setting_of(
    scope: str, kind: str, params: Mapping[str, Any], *, ttl: float | None, name: str, by: str
) -> Change:
    """Return the change that puts a constraint into force, by the options of :func:`authored`."""
    expires_at = None if ttl is None else round(time.time() + ttl, 3)
    return setting(scope, kind, params, name=name, by=by, expires_at=expires_at)


def lift(
    scope: str, plan: Plan, *, address: Address, kind: str, ttl: float | None, by: str, **waiting: Any
) -> int:
    """Clear registers of a scope: of one type, or all of them, however their topics spell it; return the exit code."""
    for option, what in (
        ("--ttl", "expires" if ttl is not None else ""),
        ("--by", "names an author" if by else ""),
    ):
        if what:
            settings().output.note(f"{option} has no effect: a cleared topic holds no message that {what}")
    short = constraint_topic(scope)
    # a broker may send no retained message for a wildcard
    exact = [constraint_topic(scope, kind), short] if kind else exact_topics(scope)
    return run(address, scope, exact, plan, everything=True, **waiting)


def run(
    address: Address,
    scope: str,
    filters: Sequence[str],
    plan: Plan,
    *,
    wait: bool,
    drained: bool,
    timeout: float,
    everything: bool = False,
    answers: Answers | None = None,
) -> int:
    """Connect, change the registers and wait as the options say.

    :param everything: whether the plan needs all registers.
    :param answers: prints what the engines say, if the command waits for them.
    """
    if drained and not wait:
        raise CommandError("--drained has no effect without --wait", "write --wait --drained", code=USAGE)
    found = settings()
    link.note_place(address, found.output)
    name = scope.removeprefix("source:") if isinstance(scope, BareName) else ""

    async def work() -> int:
        async with link.connected(address) as connector:
            waiting = Wait(timeout, drained) if wait else None
            code = await steer(
                connector,
                [*filters, *reports_on(scope), *([REGISTERS] if everything else [])],
                plan,
                found.output,
                wait=waiting,
                bare_name=name,
                user=address.user,
            )
            return code or (await answers(connector, found.output) if wait and answers is not None else code)

    return link.run(work(), debug=found.debug)
