"""Everything that a broker retains about engines, read once."""

from __future__ import annotations

import asyncio
import time

from cascade.cli import link
from cascade.cli.command import settings
from cascade.cli.errors import NO_BROKER, CommandError
from cascade.cli.link import Address, Link, unanswered
from cascade.interfaces.abilities import WatchStream
from cascade.interfaces.watch import Complete, Linked, Lost, Message
from cascade.wire import View

STATUS = "cascade/status/+"
RUNS = "cascade/state/+/runs"
CONSTRAINTS = "cascade/state/+/constraints"
STATES = "cascade/state/+/+"
REGISTERS = "cascade/constraints/#"
CANARIES = "cascade/sync/+/@canary"

ANSWER_SECONDS = 2.0
"""In which a broker has to acknowledge a subscription."""
ECHO_SECONDS = 2.0
"""In which a broker that permits it shows that all retained messages have arrived."""
_RULES = "this user may need the rules: topic read cascade/#, and topic readwrite cascade/sync/#"


def read(address: Address, *filters: str, listen: float = 0.0) -> tuple[View, float]:
    """Return what the broker retains on the filters, and the time on the clock of that view.

    :param listen: seconds in which engines without a name, which retain nothing, may report.
    :raises CommandError: if the broker does not answer, or refuses a filter.
    """

    async def work() -> View:
        async with link.connected(address) as connector:
            return await read_view(connector, *filters, listen=listen)

    return link.run(work(), debug=settings().debug), time.monotonic()


async def read_view(link: Link, *filters: str, listen: float = 0.0) -> View:
    """Return what the broker retains on the filters.

    :param listen: seconds in which engines without a name, which retain nothing, may report.
    :raises CommandError: if the broker does not answer, or refuses a filter.
    """
    view = View()
    stream = link.watch(*filters)
    try:
        await fill(view, stream)
        if listen > 0:
            await _listen(view, stream, listen)
    finally:
        await stream.aclose()
    return view


async def fill(view: View, stream: WatchStream) -> Complete | None:
    """Fold the retained messages of a stream into a view; return None if the broker does not show their end.

    A user who may only read gets no echo, so nothing shows the end of the retained messages: what has
    come within two seconds counts then.
    """
    loop = asyncio.get_running_loop()
    deadline, linked = loop.time() + ANSWER_SECONDS, False
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                item = await anext(stream)
        except TimeoutError:
            if linked:
                return None
            raise unanswered_subscription() from None
        if isinstance(item, Message):
            view.fold(item.topic, item.payload, now=time.monotonic(), retained=item.retain)
        elif isinstance(item, Linked):
            deadline, linked = loop.time() + ECHO_SECONDS, True
        elif isinstance(item, Lost):
            raise not_permitted(item.reason)
        elif isinstance(item, Complete):
            return item


def not_permitted(reason: str) -> CommandError:
    """Return the error for a broker that refuses a subscription, or cuts the link at the first message.

    mosquitto 2.0.11 does that to a user who may not publish to the topics by which a reader knows that all
    retained messages have arrived.
    """
    return CommandError(f"the broker does not deliver its messages: {reason}", _RULES, code=NO_BROKER)


def unanswered_subscription() -> CommandError:
    """Return the error for a broker that does not acknowledge a subscription."""
    return unanswered("answer a subscription", "is it overloaded?")


async def _listen(view: View, stream: WatchStream, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            async for item in stream:
                if isinstance(item, Message):
                    view.fold(item.topic, item.payload, now=time.monotonic(), retained=item.retain)
    except TimeoutError:
        return
