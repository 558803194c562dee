"""Snapshot of everything that a broker retains about engines."""

from __future__ import annotations

import asyncio
import secrets
import time

from cascade.cli import link
from cascade.cli.command import settings
from cascade.cli.errors import NO_BROKER, CommandError
from cascade.cli.link import Address, Link, unanswered
from cascade.interfaces.abilities import WatchStream
from cascade.interfaces.topics import sync_filter, sync_topic
from cascade.interfaces.watch import Complete, Linked, Lost, Message
from cascade.wire import View

STATUS = "cascade/status/+"
RUNS = "cascade/state/+/runs"
ENDED = "cascade/state/+/ended"
CONSTRAINTS = "cascade/state/+/constraints"
WORKFLOWS = "cascade/state/+/workflows"
STATES = "cascade/state/+/+"
REGISTERS = "cascade/constraints/#"
CANARIES = "cascade/sync/+/@canary"

ANSWER_SECONDS = 2.0
"""In which a broker has to acknowledge a subscription."""
ECHO_SECONDS = 2.0
"""In which a broker that permits it shows that all retained messages have arrived."""
QUIET_SECONDS = 0.2
"""Without a retained message, after which they count as complete where the network does not prove that."""
PROBE = "doctor-"
"""With what the last level of each topic begins on which a command tries whether messages are retained."""
_WITHHELD = (
    "this broker sends no retained messages for filters with wildcards (RabbitMQ does so): engines, runs and constraints "
    "that exist are not listed; use another broker, or --listen 12s for engines that report meanwhile"
)
_NOT_KEPT = (
    "the broker has not returned a retained message of this command's own, so an empty list says nothing: retained "
    "messages are off, or this user may not write below cascade/sync/"
)
_NO_END = (
    "the broker does not show whether all its retained messages have arrived, so an empty list says nothing"
)
RULES = "this user may need the rules: topic read cascade/#, and topic readwrite cascade/sync/#"


def read(address: Address, *filters: str, listen: float = 0.0) -> tuple[View, float]:
    """Return what the broker retains on the filters, and the time on the clock of that view.

    :param listen: seconds in which engines without a name, which retain nothing, may report.
    :raises CommandError: if the broker does not answer, or refuses a filter.
    """

    async def work() -> View:
        async with link.connected(address) as connector:
            view, complete = await read_view(connector, *filters, listen=listen)
            problem = unreported(view) if CONSTRAINTS in filters else ""
            if not view.has_retained:
                problem = await unreadable(connector, complete, address.user)
            if problem:
                settings().output.note(problem)
            return view

    return link.run(work(), debug=settings().debug), time.monotonic()


def unreported(view: View) -> str:
    """Return why the lists leave out what engines run and obey; empty if every engine that is online has reported."""
    names = [source for source, engine in sorted(view.engines.items()) if engine.is_unreported]
    if not names:
        return ""
    return (
        f"no report of {', '.join(names)} has come, so it is not known what runs there, and what holds it: "
        "this user may need the rule topic read cascade/state/+/+, or its engine topic write cascade/state/NAME/+"
    )


async def read_view(link: Link, *filters: str, listen: float = 0.0) -> tuple[View, Complete | None]:
    """Return what the broker retains on the filters, and what :func:`fill` returns.

    :param listen: seconds in which engines without a name, which retain nothing, may report.
    :raises CommandError: if the broker does not answer, or refuses a filter.
    """
    view = View()
    stream = link.watch(*filters)
    try:
        complete = await fill(view, stream)
        if listen > 0:
            await _listen(view, stream, listen)
    finally:
        await stream.aclose()
    return view, complete


async def unreadable(link: Link, complete: Complete | None, user: str) -> str:
    """Return why nothing that was read says nothing about the broker; empty if the broker is empty.

    :param complete: what :func:`fill` has returned.
    :param user: who is logged in, or an empty text: access rules permit a user its own sync topics.
    """
    if complete is None:
        return _NO_END
    if complete.proved or complete.topics is None or complete.topics:
        return ""
    name = f"{PROBE}{secrets.token_hex(4)}"
    topic = sync_topic(user or name, name)
    await link.publish(topic, {"probe": name}, 1, retain=True)
    try:
        await link.flush(ANSWER_SECONDS)
        if await _returns(link, topic, sync_filter(user or name)):
            return ""
        return _WITHHELD if await _returns(link, topic, topic) else _NOT_KEPT
    finally:
        await link.publish(topic, None, 1, retain=True)
        await link.flush(ANSWER_SECONDS)


async def _returns(link: Link, topic: str, topic_filter: str) -> bool:
    """Return whether a new subscription gets the retained message of a topic."""
    view = View()
    stream = link.watch(topic_filter)
    try:
        complete = await fill(view, stream)
    finally:
        await stream.aclose()
    # a message that came behind the end is not among its topics
    return bool(complete is not None and topic in (complete.topics or ())) or view.not_understood > 0


async def fill(view: View, stream: WatchStream, *, rules: str = RULES) -> Complete | None:
    """Fold the retained messages of a stream into a view; return None if the broker does not show their end.

    A user who may only read gets no echo, so nothing shows the end of the retained messages: what has
    come within two seconds counts then. Where the end is not proved, what comes shortly behind it counts, too.

    :param rules: what this user may need where the broker refuses the subscription.
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
            raise not_permitted(item.reason, rules)
        elif isinstance(item, Complete):
            if not item.proved:
                await _take_late(view, stream)
            return item


async def _take_late(view: View, stream: WatchStream) -> None:
    """Fold what comes until nothing retained has come for a moment: aedes sends it behind the echo."""
    loop = asyncio.get_running_loop()
    end, quiet = loop.time() + ECHO_SECONDS, loop.time() + QUIET_SECONDS
    while True:
        try:
            async with asyncio.timeout_at(min(end, quiet)):
                item = await anext(stream)
        except TimeoutError:
            return
        if isinstance(item, Message):
            view.fold(item.topic, item.payload, now=time.monotonic(), retained=item.retain)
            if item.retain:
                quiet = loop.time() + QUIET_SECONDS
        elif isinstance(item, Lost):
            raise not_permitted(item.reason)


def not_permitted(reason: str, rules: str = RULES) -> CommandError:
    """Return the error for a broker that refuses a subscription, or cuts the link at the first message.

    mosquitto 2.0.11 does that to a user who may not publish to the topics by which a reader knows that all
    retained messages have arrived.
    """
    return CommandError(f"the broker does not deliver its messages: {reason}", rules, code=NO_BROKER)


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
