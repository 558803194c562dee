"""``cascade acl``."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any

import click

from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.errors import USAGE, CommandError
from cascade.cli.output import Output
from cascade.interfaces.access import Roles, rules
from cascade.interfaces.errors import ConfigurationError
from cascade.ops._access.folder import write_folder
from cascade.ops._access.mosquitto import Files, access_list
from cascade.ops._access.nats import authorization
from cascade.transport.credentials import end_problem

_NAMES = ("--engine", "--operator", "--lead", "--observer", "--collector", "--requester", "--gate")


class ManyNames(click.Command):
    """A command whose options take one or more words: ``--engine press-1 press-2``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give each word its option."""
        expanded: list[str] = []
        option = ""
        for word in args:
            if word.startswith("-"):
                option = word if word in _NAMES else ""
            elif option and expanded[-1] != option:
                expanded.append(option)
            expanded.append(word)
        return super().parse_args(ctx, expanded)


@make(name="acl", cls=ManyNames)
@click.option(
    "--engine", "engines", multiple=True, metavar="NAME...", help="Engines; NAME=PROJECT for a project."
)
@click.option("--operator", "operators", multiple=True, metavar="NAME...", help="See and steer everything.")
@click.option("--lead", "leads", multiple=True, metavar="NAME=PROJECT...", help="Steer one project.")
@click.option("--observer", "observers", multiple=True, metavar="NAME...", help="See everything.")
@click.option("--collector", "collectors", multiple=True, metavar="NAME...", help="See and store everything.")
@click.option(
    "--requester", "requesters", multiple=True, metavar="NAME=WORKFLOW...", help="Start these workflows."
)
@click.option(
    "--gate", "gates", multiple=True, metavar="TOPIC...", help="Topics that gates of these engines read."
)
@click.option(
    "--for",
    "broker",
    type=click.Choice(["mosquitto", "nats"]),
    default="mosquitto",
    show_default=True,
    help="The broker; nats: for MQTT clients of a nats-server.",
)
@click.option(
    "--config",
    "folder",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write a whole configuration there.",
)
def command(broker: str, folder: Path | None, **names: tuple[str, ...]) -> None:
    """Print the access rules of a broker for these users, or write a whole configuration with them.

    NAME is the user with which a client logs in, and for an engine also its name. The project of an engine is
    CASCADE_PROJECT_ID unless given, the organisation CASCADE_ORG_ID.
    """
    found = rules(_roles(**names))
    if not found:
        raise CommandError("no user is named", "pass --engine NAME, --operator NAME and so on", code=USAGE)
    output = settings().output
    if folder is not None:
        _show_files(write_folder(folder, found, broker=broker), output, broker)
    elif output.json:
        output.document([rule._asdict() for rule in found])
    else:
        output.text("\n".join(authorization(found) if broker == "nats" else access_list(found)))


def _roles(
    *,
    engines: tuple[str, ...],
    operators: tuple[str, ...],
    leads: tuple[str, ...],
    observers: tuple[str, ...],
    collectors: tuple[str, ...],
    requesters: tuple[str, ...],
    gates: tuple[str, ...],
) -> Roles:
    for each in leads:
        if not each.partition("=")[2]:
            raise CommandError(f"{each!r} names no project", "write --lead NAME=PROJECT", code=USAGE)
    starts: dict[str, tuple[str, ...]] = {}
    for each in requesters:
        name, _, workflow = each.partition("=")
        if not workflow:
            raise CommandError(f"{each!r} names no workflow", "write --requester NAME=WORKFLOW", code=USAGE)
        starts[name] = (*starts.get(name, ()), workflow)
    if gates and not engines:
        raise CommandError(f"no engine reads {gates[0]}", "pass --engine NAME, too", code=USAGE)
    project = os.environ.get("CASCADE_PROJECT_ID") or "default"
    parted = [each.partition("=") for each in engines]
    try:
        return Roles(
            engines={name: given or project for name, _, given in parted},
            operators=operators,
            leads={name: given for name, _, given in (each.partition("=") for each in leads)},
            observers=observers,
            collectors=collectors,
            requesters=starts,
            gates=gates,
            org_id=os.environ.get("CASCADE_ORG_ID") or "local",
        )
    except ConfigurationError as error:
        raise CommandError(str(error), code=USAGE) from error


def _show_files(files: Files, output: Output, broker: str) -> None:
    """Print what was written, and what comes next."""
    written: dict[str, Any] = {"configuration": str(files.configuration), "rules": str(files.rules)}
    written |= {"passwords": str(files.secrets), "tls": files.key.exists()}
    if output.json:
        output.document(written)
        return
    program = "nats-server" if broker == "nats" else "mosquitto"
    output.line(f"start the broker:  {program} -c {shlex.quote(str(files.configuration))}")
    output.line(f"passwords:         {files.secrets}")
    if files.key.exists() and (problem := end_problem(files.certificate, time.time())):
        output.note(problem)
    if not files.key.exists():
        missing = f"{files.certificate} and {files.key.name}"
        output.note(f"only this machine can connect; for others put {missing} there and run this again")
