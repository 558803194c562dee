"""``cascade ha``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

import cascade
from cascade.cli import link
from cascade.cli.columns import Column
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.errors import OK, USAGE, CommandError
from cascade.cli.link import Address
from cascade.cli.snapshot import STATUS, read
from cascade.interfaces.text import nearest
from cascade.interfaces.topics import state_topic, status_topic
from cascade.ops._home_assistant.device import RULE, device, device_topic
from cascade.ops._retained_writes import publish_and_see

COLUMNS = (Column("source", "engine"), Column("topic"))


@make(name="ha")
@click.argument("sources", metavar="ENGINE...", nargs=-1, required=True)
@click.option("--remove", is_flag=True, help="Remove the devices again.")
@click.option("--force", is_flag=True, help="Also for engines that the broker does not know.")
@link.with_broker
def command(address: Address, sources: Sequence[str], *, remove: bool, force: bool) -> int:
    """Show engines in Home Assistant as devices: a switch pauses, a number limits, a button starts a workflow.

    Publishes one retained discovery message for each engine name. Home Assistant must use the same broker.
    """
    found = settings()
    if not address.url.startswith(("mqtt", "ws")):
        raise CommandError("Home Assistant needs an MQTT broker", "write mqtt://host:1883", code=USAGE)
    link.note_place(address, found.output)
    messages = (
        dict.fromkeys(map(device_topic, sources)) if remove else _devices(address, sources, force=force)
    )
    done = "cleared" if remove else "returned"
    link.run(
        publish_and_see(address, messages, *messages, done=done, rule=f"this user needs the rule: {RULE}"),
        debug=found.debug,
    )
    rows = [{"source": source, "topic": device_topic(source)} for source in sources]
    found.output.rows(rows, COLUMNS, empty="")
    if not remove:
        found.output.note(
            "Home Assistant shows them below Settings, Devices, MQTT; cascade ha --remove undoes this"
        )
    return OK


def _devices(address: Address, sources: Sequence[str], *, force: bool) -> dict[str, dict[str, Any] | None]:
    """Return the discovery messages by topic; each names the latest ended run, for which no event fires.

    :raises CommandError: if an engine never was, unless ``force``.
    """
    reports = (
        state_topic(source, kind) for source in sources for kind in ("runs", "constraints", "workflows")
    )
    view, _ = read(address, STATUS, *map(status_topic, sources), *reports)
    unknown = [source for source in sources if source not in view.engines]
    if unknown and not force:
        near = nearest(unknown[0], view.engines)
        meant = (
            f"did you mean {near}?" if near else "cascade ps lists them; --force publishes it nevertheless"
        )
        raise CommandError(f"no engine {', '.join(unknown)}", meant, code=USAGE)
    found: dict[str, dict[str, Any] | None] = {}
    for source in sources:
        engine = view.engines.get(source)
        recent = engine.runs.recent if engine is not None and engine.runs is not None else ()
        last = recent[0].run_id if recent else ""
        offers = engine.workflows.workflows if engine is not None and engine.workflows is not None else ()
        report = engine.constraints if engine is not None else None
        found[device_topic(source)] = device(
            source,
            cascade.__version__,
            last_run=last,
            offers=offers,
            constraints=report.effective if report is not None else (),
        )
    return found
