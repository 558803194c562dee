"""Publish retained messages, and wait until the broker has returned each: it drops what it does not permit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from cascade.cli import link
from cascade.cli.errors import NO_BROKER, CommandError
from cascade.cli.link import Address
from cascade.cli.snapshot import fill
from cascade.interfaces.abilities import WatchStream
from cascade.interfaces.connector import Payload
from cascade.interfaces.watch import Message
from cascade.wire import View

ACKNOWLEDGE_SECONDS = 5.0


async def publish_and_see(
    address: Address, messages: Mapping[str, Payload], *filters: str, done: str, rule: str
) -> None:
    """Publish a retained message to each topic, or clear it where there is None.

    :param filters: what covers the topics.
    :param done: what the broker should have done, such as ``"cleared"``, for the error.
    :param rule: what to do if the broker does not permit it.
    :raises CommandError: if the broker does not acknowledge, or does not return a message in time.
    """
    async with link.connected(address) as connector:
        stream = connector.watch(*filters)
        try:
            await fill(View(), stream)
            for topic, message in messages.items():
                await connector.publish(topic, message, 1, retain=True)
            if not await connector.flush(ACKNOWLEDGE_SECONDS):
                raise CommandError("the broker does not acknowledge", "run the command again", code=NO_BROKER)
            missing = await _not_returned(messages, stream)
        finally:
            await stream.aclose()
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CommandError(f"the broker has not {done} {min(missing)}{more}", rule, code=NO_BROKER)


async def _not_returned(messages: Mapping[str, Payload], stream: WatchStream) -> set[str]:
    """Return those of the topics whose message does not come back in time."""
    topics = set(messages)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
            while topics:
                item = await anext(stream)
                if isinstance(item, Message) and bool(item.payload) == (messages.get(item.topic) is not None):
                    topics.discard(item.topic)
    return topics
