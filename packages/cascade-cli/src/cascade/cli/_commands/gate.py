"""``cascade gate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cascade.cli._commands._steered import authored, run, setting_of, steering
from cascade.cli._steering import gate_answers
from cascade.cli.command import ParamType, settings
from cascade.cli.command import command as make
from cascade.cli.errors import USAGE, CommandError
from cascade.cli.params import DURATION, SCOPE
from cascade.interfaces.gates import MAX_TOPICS, Gate, GateMistake, is_gate
from cascade.wire import Register


class _Two(ParamType):
    name = "A,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse two numbers."""
        try:
            low, high = map(float, value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not two numbers, such as 10,20", param, ctx)
        return low, high


_TWO = _Two()


@make(name="gate")
@click.argument("scope", type=SCOPE)
@click.argument("gate_name", metavar="NAME")
@click.option("--topic", metavar="TOPIC", help="Where the plant publishes the value.")
@click.option(
    "--path", metavar="PATH", help="Where it stands in a JSON payload: ENERGY/Power. [default: all of it]"
)
@click.option("--above", type=float, metavar="N", help="Closed while the value is above N.")
@click.option("--below", type=float, metavar="N", help="Closed while it is below N.")
@click.option("--inside", type=_TWO, help="Closed while it is from A to B.")
@click.option("--outside", type=_TWO, help="Closed while it is below A or above B.")
@click.option("--equals", metavar="TEXT", help="Closed while it is this word.")
@click.option("--clear-at", type=float, metavar="N", help="Opens only when the value has come back to N.")
@click.option("--settle", type=DURATION, metavar="DURATION", help="Opens after so long in band. [default: 0]")
@click.option(
    "--stale", type=DURATION, metavar="DURATION", help="The value is unknown after so long a silence."
)
@click.option(
    "--on-stale", type=click.Choice(["hold", "pass"]), help="What an unknown value does. [default: hold]"
)
@click.option("--window", metavar="TEXT", help="Open at these hours: '22:00-06:00 Europe/Berlin'.")
@authored
@steering
def command(scope: str, gate_name: str, ttl: float | None, name: str, by: str, **options: Any) -> int:
    """Hold a scope while a value on any topic is out of band, or outside a window of time.

    SCOPE is global, project:ID, source:ID, workflow:NAME, run:ID or task:PATTERN; a bare name is an engine. Give --topic with
    one of --above, --below, --inside, --outside and --equals; or --window. cascade clear SCOPE gate.NAME lifts the gate.
    """
    waiting = {key: options.pop(key) for key in ("address", "wait", "drained", "timeout")}
    gate = _gate(gate_name, options)
    if gate.topic and gate.stale is None:
        settings().output.note(
            "without --stale, a sensor that has stopped keeps its last value for ever; --stale 10m makes it unknown then"
        )
    change = setting_of(scope, gate.type, gate.params(), ttl=ttl, name=name, by=by)

    def plan(registers: Mapping[str, Register]) -> Any:
        _check_topics(gate, scope, registers)
        return change

    return run(
        waiting.pop("address"),
        scope,
        [change.topic],
        plan,
        everything=True,
        answers=gate_answers(change),
        **waiting,
    )


def _gate(name: str, options: Mapping[str, Any]) -> Gate:
    keys = {"settle": "settle_s", "stale": "stale_s"}
    try:
        return Gate.from_params(name, {keys.get(key, key): _plain(value) for key, value in options.items()})
    except GateMistake as mistake:
        option = "NAME" if mistake.setting == "name" else f"--{mistake.setting.replace('_', '-')}"
        raise CommandError(f"{option}: {mistake.problem}", code=USAGE) from None


def _plain(value: Any) -> Any:
    """Return a whole number without its point: every screen repeats it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_topics(gate: Gate, scope: str, registers: Mapping[str, Register]) -> None:
    """Refuse a topic that is one too many for every engine of the scope."""
    topics = {
        str((each.params or {}).get("topic", ""))
        for each in registers.values()
        if is_gate(each.type) and (each.scope == scope or not each.scope.startswith("source:"))
    }
    if gate.topic and gate.topic not in topics and len(topics - {""}) >= MAX_TOPICS:
        raise CommandError(
            f"--topic: gates read {MAX_TOPICS} topics already, and an engine reads no more",
            "cascade constraints lists them; clear those that are not needed",
            code=USAGE,
        )
