"""``cascade prune``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import click

from cascade.cli import link
from cascade.cli.columns import Column
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.errors import NO_BROKER, OK, USAGE, CommandError
from cascade.cli.link import Address
from cascade.cli.snapshot import CANARIES, REGISTERS, STATES, STATUS, fill
from cascade.ops._home_assistant.device import FILTER, RULE, is_device_topic
from cascade.ops._leftovers import Leftover, is_probe_topic, leftovers
from cascade.ops._retained_writes import publish_and_see
from cascade.wire import View

COLUMNS = (Column("topic"), Column("why"))
_EVERYTHING = (STATUS, STATES, REGISTERS, CANARIES)
_FURTHER: dict[str, Callable[[str], bool]] = {FILTER: is_device_topic, "cascade/sync/+/+": is_probe_topic}
"""Filters that a user may be denied, and which of their topics may be left over."""
_RULE = "this user needs the rule: topic readwrite cascade/#"


@make(name="prune")
@click.option("--yes", is_flag=True, help="Clear without asking.")
@link.with_broker
def command(address: Address, *, yes: bool) -> int:
    """Show, then clear, what dead engines and expired constraints left on the broker.

    An engine whose connection is lost may come back; it then publishes its reports again. Without a terminal
    and without --yes nothing is shown or cleared.
    """
    found = settings()
    if not yes and not sys.stdin.isatty():
        raise CommandError("nothing is cleared without a terminal to ask on", "pass --yes", code=USAGE)
    output = found.output
    link.note_place(address, output)
    left = link.run(_find(address), debug=found.debug)
    output.rows([asdict(each) for each in left], COLUMNS, empty="nothing is left over")
    if left and (yes or click.confirm(f"Clear these {len(left)} retained messages?", err=True)):
        link.run(_clear(address, left), debug=found.debug)
    return OK


async def _clear(address: Address, found: Sequence[Leftover]) -> None:
    topics = [each.topic for each in found]
    further = [each for each, belongs in _FURTHER.items() if any(map(belongs, topics))]
    rule = f"{_RULE}, and {RULE}" if FILTER in further else _RULE
    await publish_and_see(address, dict.fromkeys(topics), *_EVERYTHING, *further, done="cleared", rule=rule)


async def _find(address: Address) -> list[Leftover]:
    view = View()
    async with link.connected(address) as connector:
        stream = connector.watch(*_EVERYTHING)
        try:
            complete = await fill(view, stream)
        finally:
            await stream.aclose()
    if complete is None or complete.topics is None:
        problem = "the broker does not show whether all its retained messages have arrived"
        raise CommandError(problem, _RULE, code=NO_BROKER)
    further = [await _further(address, *each) for each in _FURTHER.items()]
    topics = complete.topics.union(*further)
    return list(leftovers(view, topics, now=time.monotonic(), wall=time.time()))


async def _further(address: Address, topic_filter: str, belongs: Callable[[str], bool]) -> frozenset[str]:
    """Return the topics that belong to a filter; none where this user may not read them."""
    async with link.connected(address) as connector:
        stream = connector.watch(topic_filter)
        try:
            complete = await fill(View(), stream)
        except CommandError:
            return frozenset()
        finally:
            await stream.aclose()
    found = complete.topics if complete is not None else None
    return frozenset(filter(belongs, found or ()))
